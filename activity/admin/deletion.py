"""Auto-deletion in the admin: its settings, runs and previews, and what they left behind."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from kombu.exceptions import OperationalError as QueueError
from solo.admin import SingletonModelAdmin

from activity.admin.read_only import ReadOnlyAdmin
from activity.deletion import rules, runs
from activity.feed import chart
from activity.models import Archive, AutoDeletion, DeletionRule, Hold, Import, Run
from activity.sources import auditing
from activity.tasks import execute_run
from repositories.access.levels import Category
from repositories.models import Repository


@admin.register(AutoDeletion)
class AutoDeletionAdmin(SingletonModelAdmin):
    """The registry-wide setting, with its buttons."""

    change_form_template = "admin/registry_activity/autodeletion/change_form.html"
    fieldsets = [
        (None, {"fields": ["enabled"]}),
        (
            "An event goes if either is met",
            {
                "fields": [("age", "age_unit"), "max_events"],
                "description": "This decides for the events that no rule decides for.",
            },
        ),
        (None, {"fields": ["archive"]}),
    ]

    def get_urls(self) -> list[Any]:
        start = self.admin_site.admin_view(self.start)
        return [path("start/", start, name="registry_activity_autodeletion_start"), *super().get_urls()]

    def start(self, request: HttpRequest) -> HttpResponse:
        """Start a run, or a preview, in the worker, and lead to its job log."""
        settings = reverse("admin:registry_activity_autodeletion_change")
        if request.method != "POST" or not self.has_change_permission(request):
            return HttpResponseRedirect(settings)
        preview = "preview" in request.POST
        if not preview and not AutoDeletion.get_solo().enabled:
            messages.error(request, "Auto-deletion is off. Turn it on and save first.")
            return HttpResponseRedirect(settings)
        try:
            run = runs.start(request.user.get_username(), preview=preview)
        except runs.UnderWay as reason:
            messages.warning(request, f"{reason} Stop it there, or wait until it has ended.")
            return HttpResponseRedirect(reverse("admin:registry_activity_run_changelist"))
        try:
            execute_run.delay(run.pk)
            messages.success(request, f"{run} was started. Reload this page to see how it goes.")
        except (QueueError, OSError) as error:
            runs.give_up(run, f"The task queue is out of reach: {error}")
            messages.error(request, "The task queue is out of reach: are Redis and the Celery worker up?")
        return HttpResponseRedirect(reverse("admin:registry_activity_run_change", args=[run.pk]))


@admin.register(DeletionRule)
class DeletionRuleAdmin(admin.ModelAdmin):
    """Rules, and a page that shows which of them decides."""

    change_list_template = "admin/registry_activity/deletionrule/change_list.html"
    list_display = ["__str__", "conditions"]
    list_filter = ["category"]
    list_select_related = ["repository__namespace", "namespace"]
    autocomplete_fields = ["repository", "namespace"]
    fields = ["repository", "namespace", "category", ("age", "age_unit"), ("max_events", "max_per")]

    @admin.display(description="events go")
    def conditions(self, rule: DeletionRule) -> str:
        return describe(rules.rule_of(rule))

    def get_urls(self) -> list[Any]:
        deciding = self.admin_site.admin_view(self.deciding)
        return [
            path("deciding/", deciding, name="registry_activity_deletionrule_deciding"),
            *super().get_urls(),
        ]

    def deciding(self, request: HttpRequest) -> HttpResponse:
        """Show for one repository which rule decides for which category."""
        if not self.has_view_permission(request):
            return HttpResponseRedirect(reverse("admin:index"))
        name = request.GET.get("repository", "").replace("\0", "").removeprefix("_/")
        repository = Repository.objects.named(name).live().select_related("namespace").first()
        context = {
            **self.admin_site.each_context(request),
            "title": "Which rule decides",
            "opts": self.opts,
            "name": name,
            "repository": repository,
            "enabled": AutoDeletion.get_solo().enabled,
            "holds": rules.holds_on(repository) if repository else [],
            "decisions": decisions(repository) if repository else [],
        }
        return TemplateResponse(request, "admin/registry_activity/deletionrule/deciding.html", context)


def decisions(repository: Repository) -> list[tuple[str, rules.Rule, str]]:
    """Return, for each category, the rule that decides in a repository, and when events go by it."""
    current = rules.current_rules()
    deciding = [(category.label, rules.deciding_rule(current, repository, category)) for category in Category]
    return [(label, rule, describe(rule)) for label, rule in deciding]


def describe(rule: rules.Rule) -> str:
    """Say when events go by a rule, such as `older than 2 months`."""
    conditions = []
    if rule.age:
        conditions.append(f"older than {rule.age} {rule.age_unit if rule.age > 1 else rule.age_unit[:-1]}")
    if rule.max_events:
        where = " in each repository" if rule.max_per_repository else ""
        conditions.append(f"beyond the newest {rule.max_events:,}{where}")
    return " or ".join(conditions) or "never"


@admin.register(Hold)
class HoldAdmin(admin.ModelAdmin):
    """Holds. To lift one is to delete it."""

    list_display = ["scope", "reason", "set_by", "set_at"]
    list_select_related = ["repository__namespace", "namespace", "set_by"]
    autocomplete_fields = ["repository", "namespace"]
    readonly_fields = ["set_by", "set_at"]

    def save_model(self, request: HttpRequest, obj: Hold, form: Any, change: bool) -> None:
        if not change:
            obj.set_by_id = request.user.pk
        super().save_model(request, obj, form, change)


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    """Job logs."""

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
        "expected",
        "deleted",
        "report_shown",
        "archives_shown",
        "settings_shown",
        "error",
    ]

    def get_urls(self) -> list[Any]:
        stop = self.admin_site.admin_view(self.stop)
        return [path("<int:pk>/stop/", stop, name="registry_activity_run_stop"), *super().get_urls()]

    def stop(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask a run to stop after its current batch."""
        if request.method == "POST" and request.user.has_perm("registry_activity.change_run"):
            with transaction.atomic():
                going_on = Run.objects.filter(pk=pk, finished_at=None, stop_requested=False)
                if going_on.update(stop_requested=True):
                    auditing.record("stop_deletion", run=pk)
            messages.success(request, "The run stops after the batch that it is at.")
        return HttpResponseRedirect(reverse("admin:registry_activity_run_change", args=[pk]))

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        kwargs["extra_context"] = {"may_stop": request.user.has_perm("registry_activity.change_run")}
        return super().change_view(request, object_id, *args, **kwargs)

    @admin.display(description="progress")
    def progress(self, run: Run) -> str:
        if run.preview or not run.expected:
            return "–"
        bar = format_html('<progress value="{}" max="{}"></progress>', run.deleted, run.expected)
        return format_html("{} {} of {}", bar, run.deleted, run.expected)

    @admin.display(description="report")
    def report_shown(self, run: Run) -> str:
        rows = [
            (
                rule,
                entry["events"],
                ", ".join(f"{category}: {count}" for category, count in entry["categories"].items()),
                f"{entry['from'][:16]} to {entry['to'][:16]} UTC" if "from" in entry else "",
                ", ".join(f"{name or '–'}: {count}" for name, count in entry.get("largest", [])),
            )
            for rule, entry in run.report.items()
        ]
        cells = "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>"
        heads = format_html_join(
            "", "<th>{}</th>", [[h] for h in ("Rule", "Events", "By category", "When", "Largest")]
        )
        return (
            format_html("<table><tr>{}</tr>{}</table>", heads, format_html_join("", cells, rows))
            if rows
            else "–"
        )

    @admin.display(description="archives")
    def archives_shown(self, run: Run) -> str:
        rows = ((archive.name, chart.events(archive.events)) for archive in run.archives.all()[:100])
        return format_html_join("", "<div>{} ({})</div>", rows) or "–"

    @admin.display(description="settings it ran with")
    def settings_shown(self, run: Run) -> str:
        return format_html("<pre>{}</pre>", json.dumps(run.settings, indent=2))


@admin.register(Archive)
class ArchiveAdmin(ReadOnlyAdmin):
    """Files of deleted events. `manage.py import_events NAME` brings one back."""

    list_display = ["name", "events", "created_at", "deleted_at", "run"]
    list_select_related = ["run"]
    search_fields = ["name"]


@admin.register(Import)
class ImportAdmin(ReadOnlyAdmin):
    """Archives that were brought back, held until they are released."""

    list_display = ["archive_name", "events", "imported_at", "released_at"]
    actions = ["release"]

    def has_release_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("registry_activity.change_import")

    @admin.action(description="Release: the rules apply to the events again", permissions=["release"])
    @transaction.atomic
    def release(self, request: HttpRequest, queryset: QuerySet[Import]) -> None:
        names = list(queryset.filter(released_at=None).values_list("archive_name", flat=True))
        count = queryset.filter(released_at=None).update(released_at=timezone.now())
        if count:
            auditing.record("release_import", archives=names[: auditing.MAX_NAMES], count=count)
        messages.success(request, f"Released: {count}.")
