"""Shows the changes to auto-deletion that have not taken effect yet."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from activity.deletion import changes, runs
from activity.feed.chart import event_count_text
from repositories.utils.admin_lookup import LookupMixin


def waiting_changes(user: Any) -> dict[str, Any]:
    """Return the changes that wait, and a preview of the events to delete once they are in effect."""
    waiting = list(changes.waiting())
    preview = runs.preview_of(changes.saved()) if waiting else None
    return {
        "changes": waiting,
        "preview": preview,
        "number": event_count_text(preview.expected or 0) if preview else "",
        "can_cancel": user.has_perm("registry_activity.change_autodeletion"),
    }


class WaitingChangesMixin(LookupMixin, admin.ModelAdmin):
    """Shows the changes that wait above the list of objects, or above the form."""

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        extra_context = {**(extra_context or {}), "waiting": waiting_changes(request.user)}
        return super().changelist_view(request, extra_context)

    def changeform_view(
        self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        extra_context = {**(extra_context or {}), "waiting": waiting_changes(request.user)}
        return super().changeform_view(request, object_id, form_url, extra_context)
