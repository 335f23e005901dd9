"""The admin for auto-deletion: settings, rules, holds, runs and imports."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminTextareaWidget
from django.contrib.humanize.templatetags.humanize import intcomma
from django.db import IntegrityError, transaction
from django.db.models import QuerySet, TextField
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from kombu.exceptions import OperationalError as QueueError
from solo.admin import SingletonModelAdmin

from activity.admin.actions import report
from activity.admin.read_only import ReadOnlyAdmin
from activity.admin.waiting_changes import WaitingChangesMixin
from activity.deletion import changes, rules, runs
from activity.deletion.holds import holds_on
from activity.feed import chart
from activity.models import (
    RULE_CATEGORIES,
    AutoDeletion,
    DeletionRule,
    Hold,
    Import,
    Run,
    WaitingChange,
)
from activity.models.deletion import AgeUnit
from activity.sources import auditing
from activity.tasks import execute_run
from repositories.models import Repository
from repositories.names import is_name

MAX_PREVIEW_AGE = timedelta(hours=1)
"""The numbers of older previews aren't offered for confirmation."""


@admin.register(AutoDeletion)
class AutoDeletionAdmin(WaitingChangesMixin, SingletonModelAdmin):
    """The registry-wide settings for auto-deletion, with buttons to start a run or a preview."""

    change_form_template = "admin/registry_activity/autodeletion/change_form.html"
    formfield_overrides = {TextField: {"widget": AdminTextareaWidget(attrs={"rows": 3})}}
    fieldsets = [
        (None, {"fields": ["enabled", "reason"]}),
        (
            _("Delete events that meet either condition"),
            {
                "fields": [("age", "age_unit"), "max_events"],
                "description": _(
                    "The conditions apply to repository events that no deletion rule applies to. Access,"
                    " account and system events are deleted only by a rule for their category."
                ),
            },
        ),
        (None, {"fields": ["archive"]}),
    ]

    def get_urls(self) -> list[Any]:
        start, cancel = (self.admin_site.admin_view(view) for view in (self.start, self.cancel))
        return [
            path("start/", start, name="registry_activity_autodeletion_start"),
            path("changes/<int:pk>/cancel/", cancel, name="registry_activity_autodeletion_cancel"),
            *super().get_urls(),
        ]

    def cancel(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Cancel a change that waits, and redirect to the front page."""
        if request.method == "POST" and self.has_change_permission(request):
            change = changes.waiting().filter(pk=pk).first()
            if change is None:
                messages.error(request, gettext("This change has already taken effect or been cancelled."))
            else:
                self._cancel(request, change)
        return HttpResponseRedirect(reverse("admin:index"))

    def _cancel(self, request: HttpRequest, change: WaitingChange) -> None:
        try:
            changes.cancel(change)
        except IntegrityError:
            messages.error(
                request,
                gettext("The former state can't be restored, because it conflicts with a later change."),
            )
        else:
            messages.success(request, gettext("Cancelled: %(subject)s.") % {"subject": change.subject})

    def start(self, request: HttpRequest) -> HttpResponse:
        """Start a run or a preview in the Celery worker, and redirect to its page.

        Before a run, start a preview of it, whose page shows the numbers and asks for confirmation.
        """
        settings = reverse("admin:registry_activity_autodeletion_change")
        if request.method != "POST" or not self.has_change_permission(request):
            return HttpResponseRedirect(settings)
        wants_run, preview = "preview" not in request.POST, "confirmed" not in request.POST
        if wants_run and not changes.in_effect().enabled:
            messages.error(request, why_nothing_is_deleted())
            return HttpResponseRedirect(settings)
        try:
            run = runs.start(request.user.get_username(), preview=preview, in_effect=wants_run)
        except runs.AlreadyRunning as reason:
            messages.warning(
                request, gettext("%(reason)s Stop it, or wait for it to finish.") % {"reason": reason}
            )
            return HttpResponseRedirect(reverse("admin:registry_activity_run_changelist"))
        enqueue(request, run, includes_waiting=not wants_run)
        if wants_run and preview:
            messages.info(
                request, gettext("Nothing was deleted yet. First, the events to delete are counted.")
            )
        return HttpResponseRedirect(reverse("admin:registry_activity_run_change", args=[run.pk]))


@admin.register(DeletionRule)
class DeletionRuleAdmin(WaitingChangesMixin, admin.ModelAdmin):
    """The admin for deletion rules, with a page that shows which rules apply to a repository's events."""

    change_list_template = "admin/registry_activity/deletionrule/change_list.html"
    list_display = ["__str__", "conditions"]
    list_filter = ["category"]
    list_select_related = ["repository__namespace", "namespace"]
    autocomplete_fields = ["repository", "namespace"]
    fields = ["repository", "namespace", "category", ("age", "age_unit"), ("max_events", "max_per")]

    @admin.display(description=_("deletes events"))
    def conditions(self, rule: DeletionRule) -> str:
        return describe_conditions(rules.rule_from_model(rule))

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.applicable_rules)
        return [
            path("applicable/", view, name="registry_activity_deletionrule_applicable"),
            *super().get_urls(),
        ]

    def applicable_rules(self, request: HttpRequest) -> HttpResponse:
        """Show which rule applies to each category of a repository's events."""
        if not self.has_view_permission(request):
            return HttpResponseRedirect(reverse("admin:index"))
        name = request.GET.get("repository", "").removeprefix("_/")
        found = Repository.objects.named(name).live().select_related("namespace")
        repository = found.first() if is_name(name) else None
        configuration = changes.in_effect()
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Which rule applies"),
            "opts": self.opts,
            "name": name,
            "repository": repository,
            "enabled": configuration.enabled,
            "is_held": repository is not None and configuration.holds_repository(repository),
            "holds": holds_on(repository) if repository else [],
            "rules": rules_by_category(configuration.rules, repository) if repository else [],
        }
        return TemplateResponse(
            request, "admin/registry_activity/deletionrule/applicable_rules.html", context
        )


def enqueue(request: HttpRequest, run: Run, *, includes_waiting: bool = False) -> None:
    """Queue a run for the Celery worker, and show a message."""
    try:
        execute_run.delay(run.pk)
        messages.success(
            request, gettext("%(run)s was started. Reload this page to see its progress.") % {"run": run}
        )
        if run.waiting:
            if includes_waiting:
                text = gettext("%(run)s includes the changes that still wait: %(changes)s.")
            else:
                text = gettext("%(run)s ignores the changes that still wait: %(changes)s.")
            messages.warning(request, text % {"run": run, "changes": "; ".join(run.waiting)})
    except (QueueError, OSError) as error:
        runs.fail_queued(run, f"The task queue is unreachable: {error}")
        messages.error(
            request,
            gettext("The task queue is unreachable. Check that Redis and the Celery worker are running."),
        )


def is_current_preview(run: Run) -> bool:
    """Return whether a preview has counted, a short time ago, what a run would delete now."""
    is_recent = bool(run.finished_at and run.finished_at > timezone.now() - MAX_PREVIEW_AGE)
    if not (run.preview and is_recent and run.state == Run.State.FINISHED):
        return False
    configuration = changes.in_effect()
    return configuration.enabled and run.settings == configuration.as_json()


def why_nothing_is_deleted() -> str:
    """Return why auto-deletion is not in effect."""
    settings = AutoDeletion.get_solo()
    if settings.enabled:
        return gettext("Auto-deletion has not taken effect yet. The front page shows the changes that wait.")
    if settings.reason:
        return gettext("Auto-deletion is off: %(reason)s") % {"reason": settings.reason}
    return gettext("Auto-deletion is off. Turn it on and save the settings first.")


def rules_by_category(
    in_effect: list[rules.Rule], repository: Repository
) -> list[tuple[str, rules.Rule, str]]:
    """Return a (category, rule, conditions) tuple for each category of a repository's events."""
    current = rules.with_defaults(in_effect)
    applicable = [
        (str(label), rules.applicable_rule(current, repository.pk, repository.namespace_id, category))
        for category, label in RULE_CATEGORIES
    ]
    return [(label, rule, describe_conditions(rule)) for label, rule in applicable]


def describe_conditions(rule: rules.Rule) -> str:
    """Return the conditions of a rule as text, for example `older than 2 months`."""
    conditions = []
    if rule.age:
        conditions.append(_age_in_words(rule.age_unit, rule.age) % {"number": rule.age})
    if rule.max_events:
        if rule.max_per_repository:
            text = gettext("beyond the newest %(number)s in each repository")
        else:
            text = gettext("beyond the newest %(number)s")
        conditions.append(text % {"number": intcomma(rule.max_events)})
    return gettext(" or ").join(conditions) or gettext("never")


def _age_in_words(unit: str, number: int) -> str:
    if unit == AgeUnit.HOURS:
        return ngettext("older than %(number)s hour", "older than %(number)s hours", number)
    if unit == AgeUnit.DAYS:
        return ngettext("older than %(number)s day", "older than %(number)s days", number)
    if unit == AgeUnit.WEEKS:
        return ngettext("older than %(number)s week", "older than %(number)s weeks", number)
    return ngettext("older than %(number)s month", "older than %(number)s months", number)


@admin.register(Hold)
class HoldAdmin(WaitingChangesMixin, admin.ModelAdmin):
    """The admin for holds. Deleting a hold lifts it."""

    list_display = ["scope", "reason", "set_by", "set_at"]
    list_select_related = ["repository__namespace", "namespace", "set_by"]
    autocomplete_fields = ["repository", "namespace"]
    readonly_fields = ["set_by", "set_at"]

    @admin.display(description=_("scope"))
    def scope(self, hold: Hold) -> str:
        return hold.scope

    def save_model(self, request: HttpRequest, obj: Hold, form: Any, change: bool) -> None:
        if not change:
            obj.set_by_id = request.user.pk
        super().save_model(request, obj, form, change)


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    """Shows runs and previews, with their progress and reports."""

    change_form_template = "admin/registry_activity/run/change_form.html"
    list_display = ["__str__", "state", "started_by", "started_at", "finished_at", "expected", "deleted"]
    list_filter = ["state", "preview"]
    fields = [
        "state",
        "progress",
        "started_by",
        "started_at",
        "finished_at",
        "cutoff",
        "waiting_list",
        "expected",
        "deleted",
        "report_table",
        "partition_list",
        "archive_list",
        "formatted_settings",
        "error",
    ]

    def get_urls(self) -> list[Any]:
        stop, go_on = (self.admin_site.admin_view(view) for view in (self.stop, self.go_on))
        return [
            path("<int:pk>/stop/", stop, name="registry_activity_run_stop"),
            path("<int:pk>/go-on/", go_on, name="registry_activity_run_go_on"),
            *super().get_urls(),
        ]

    def stop(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask a run to stop after its current batch."""
        if request.method == "POST" and request.user.has_perm("registry_activity.change_run"):
            run = get_object_or_404(Run, pk=pk)
            with transaction.atomic():
                if stopped := runs.request_stop(run):
                    auditing.record("stop_deletion", run=pk)
            if stopped:
                messages.success(request, gettext("The run will stop after its current batch."))
            else:
                messages.warning(request, gettext("The run has already finished, or is already stopping."))
        return HttpResponseRedirect(reverse("admin:registry_activity_run_change", args=[pk]))

    def go_on(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Let a run continue that waits because the clock is ahead of the last event, heartbeat or run."""
        if request.method == "POST" and request.user.has_perm("registry_activity.change_run"):
            run = get_object_or_404(Run, pk=pk)
            with transaction.atomic():
                if waited := runs.go_on(run):
                    auditing.record("trust_clock", run=pk)
            if waited:
                enqueue(request, run)
            else:
                messages.error(request, gettext("This run is no longer waiting."))
        return HttpResponseRedirect(reverse("admin:registry_activity_run_change", args=[pk]))

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        run = self.get_object(request, object_id)
        may_change = request.user.has_perm("registry_activity.change_run")
        kwargs["extra_context"] = {
            "can_stop": may_change,
            "can_run": may_change and run is not None and is_current_preview(run),
        }
        response = super().change_view(request, object_id, *args, **kwargs)
        if run and run.preview and run.finished_at is None:
            response["Refresh"] = "3"
        return response

    @admin.display(description=_("progress"))
    def progress(self, run: Run) -> str:
        if run.preview or not run.expected:
            return "–"
        bar = format_html('<progress value="{}" max="{}"></progress>', run.deleted, run.expected)
        text = gettext("%(deleted)s of %(expected)s") % {"deleted": run.deleted, "expected": run.expected}
        return format_html("{} {}", bar, text)

    @admin.display(description=_("report"))
    def report_table(self, run: Run) -> str:
        rows = [
            (
                rule,
                entry["events"],
                ", ".join(f"{category}: {count}" for category, count in entry["categories"].items()),
                _time_range(entry) if "from" in entry else "",
                ", ".join(f"{name or '–'}: {count}" for name, count in entry.get("largest", [])),
            )
            for rule, entry in run.report.items()
        ]
        cells = "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>"
        heads = format_html_join(
            "",
            "<th>{}</th>",
            [
                [gettext("Rule")],
                [gettext("Events")],
                [gettext("By category")],
                [gettext("Time range")],
                [gettext("Largest repositories")],
            ],
        )
        return (
            format_html("<table><tr>{}</tr>{}</table>", heads, format_html_join("", cells, rows))
            if rows
            else "–"
        )

    @admin.display(description=_("changes that waited"))
    def waiting_list(self, run: Run) -> str:
        return format_html_join("", "<div>{}</div>", [[change] for change in run.waiting]) or "–"

    @admin.display(description=_("partitions"))
    def partition_list(self, run: Run) -> str:
        return format_html_join("", "<div>{}: {}</div>", run.partitions.items()) or "–"

    @admin.display(description=_("archives"))
    def archive_list(self, run: Run) -> str:
        rows = (
            (archive.name, chart.event_count_text(archive.events)) for archive in run.archives.all()[:100]
        )
        return format_html_join("", "<div>{} ({})</div>", rows) or "–"

    @admin.display(description=_("settings used"))
    def formatted_settings(self, run: Run) -> str:
        return format_html("<pre>{}</pre>", json.dumps(run.settings, indent=2))


def _time_range(entry: dict[str, Any]) -> str:
    """Return the time range of the events in an entry of a run's report."""
    text = gettext("%(start)s to %(end)s UTC")
    return text % {"start": entry["from"][:16], "end": entry["to"][:16]}


@admin.register(Import)
class ImportAdmin(WaitingChangesMixin, ReadOnlyAdmin):
    """Shows imported archives. Their events are held until an MSR admin releases the import."""

    list_display = ["archive_name", "foreign", "events", "imported_at", "released_at"]
    actions = ["release"]

    def has_release_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("registry_activity.change_import")

    @admin.action(
        description=_("Release selected imports (deletion rules will apply to their events again)"),
        permissions=["release"],
    )
    @transaction.atomic
    def release(self, request: HttpRequest, queryset: QuerySet[Import]) -> None:
        held = list(queryset.filter(released_at=None))
        for imported in held:
            imported.released_at = timezone.now()
            imported.save(update_fields=["released_at"])
        for names in auditing.parts([imported.archive_name for imported in held]):
            auditing.record("release_import", archives=names, count=len(names))
        report(request, gettext("Released: %(number)s."), len(held))
