"""The admin for imported archives."""

from __future__ import annotations

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from activity.admin.actions import report, set_time
from activity.admin.read_only import ReadOnlyAdmin
from activity.admin.waiting_changes import WaitingChangesMixin
from activity.models import Import
from activity.sources import auditing


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
        held = set_time(queryset, "released_at")
        for names in auditing.parts([imported.archive_name for imported in held]):
            auditing.record("release_import", archives=names, count=len(names))
        report(request, gettext("Released: %(number)s."), len(held))
