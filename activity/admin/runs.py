"""The admin for runs and previews of auto-deletion."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from kombu.exceptions import OperationalError as QueueError

from activity.admin.read_only import ReadOnlyAdmin
from activity.admin.tables import render_table
from activity.deletion import changes, runs
from activity.feed import chart
from activity.models import Run
from activity.tasks import execute_run

MAX_PREVIEW_AGE = timedelta(hours=1)
"""The numbers of older previews aren't offered for confirmation."""


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
        stop, resume = (self.admin_site.admin_view(view) for view in (self.stop, self.resume))
        return [
            path("<int:pk>/stop/", stop, name="registry_activity_run_stop"),
            path("<int:pk>/resume/", resume, name="registry_activity_run_resume"),
            *super().get_urls(),
        ]

    def stop(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask a run to stop after its current batch."""
        if request.method == "POST" and request.user.has_perm("registry_activity.change_run"):
            if runs.request_stop(get_object_or_404(Run, pk=pk)):
                messages.success(request, gettext("The run will stop after its current batch."))
            else:
                messages.warning(request, gettext("The run has already finished, or is already stopping."))
        return HttpResponseRedirect(reverse("admin:registry_activity_run_change", args=[pk]))

    def resume(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Resume a run that waits because the clock is ahead of the last event, heartbeat or run."""
        if request.method == "POST" and request.user.has_perm("registry_activity.change_run"):
            run = get_object_or_404(Run, pk=pk)
            if runs.resume(run):
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
        headings = (
            gettext("Rule"),
            gettext("Events"),
            gettext("By category"),
            gettext("Time range"),
            gettext("Largest repositories"),
        )
        return render_table(headings, rows) if rows else "–"

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
