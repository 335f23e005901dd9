"""The admin for the settings of auto-deletion, from which runs and previews are started."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminTextareaWidget
from django.db import IntegrityError
from django.db.models import TextField
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from solo.admin import SingletonModelAdmin

from activity.admin.runs import enqueue
from activity.admin.waiting_changes import WaitingChangesMixin
from activity.deletion import changes, runs
from activity.models import AutoDeletion, WaitingChange


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


def why_nothing_is_deleted() -> str:
    """Return why auto-deletion is not in effect."""
    settings = AutoDeletion.get_solo()
    if settings.enabled:
        return gettext("Auto-deletion has not taken effect yet. The front page shows the changes that wait.")
    if settings.reason:
        return gettext("Auto-deletion is off: %(reason)s") % {"reason": settings.reason}
    return gettext("Auto-deletion is off. Turn it on and save the settings first.")
