"""The admin for archives: finds the archive of an event, and brings its events back."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from dateutil.relativedelta import relativedelta
from django.contrib import admin, messages
from django.db.models import Exists, OuterRef, Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from kombu.exceptions import OperationalError as QueueError

from activity.admin.read_only import ReadOnlyAdmin
from activity.identity import first_id
from activity.models import Archive, Import
from activity.tasks import import_archives

SHOWN = 3
"""The maximum number of repositories to show in the list."""
MAX_IMPORTED = 100
"""The maximum number of archives to restore at a time."""


@admin.register(Archive)
class ArchiveAdmin(ReadOnlyAdmin):
    """Shows archives of deleted events, and imports them."""

    list_display = [
        "name",
        "first_event",
        "last_event",
        "events",
        "rule_names",
        "repository_names",
        "run",
        "deleted_at",
        "is_restored",
    ]
    list_select_related = ["run"]
    search_fields = ["name"]
    search_help_text = _(
        "A date (2026-09-30), a month (2026-09), an event id, a repository, a rule or a name"
    )
    actions = ["bring_back"]
    fields = [
        "name",
        "first_event",
        "last_event",
        "events",
        "rule_names",
        "all_repositories",
        "run",
        "created_at",
        "deleted_at",
        "is_restored",
        "sha256",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Archive]:
        restored = Import.objects.filter(archive_name=OuterRef("name"), foreign=False, released_at=None)
        return super().get_queryset(request).annotate(is_restored=Exists(restored))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Archive], search_term: str
    ) -> tuple[QuerySet[Archive], bool]:
        queryset = queryset.annotate(
            rule_text=Cast("rules", TextField()), repository_text=Cast("repositories", TextField())
        )
        for word in search_term.split():
            queryset = queryset.filter(matching(word))
        return queryset, False

    @admin.display(description=_("first event"), ordering="first_id")
    def first_event(self, archive: Archive) -> str:
        return _formatted(archive.first_at)

    @admin.display(description=_("last event"), ordering="last_id")
    def last_event(self, archive: Archive) -> str:
        return _formatted(archive.last_at)

    @admin.display(description=_("rules"))
    def rule_names(self, archive: Archive) -> str:
        return ", ".join(archive.rules) or "–"

    @admin.display(description=_("repositories"))
    def repository_names(self, archive: Archive) -> str:
        more = ["…"] if len(archive.repositories) > SHOWN else []
        return ", ".join([*archive.repositories[:SHOWN], *more]) or "–"

    @admin.display(description=_("repositories"))
    def all_repositories(self, archive: Archive) -> str:
        return ", ".join(archive.repositories) or "–"

    @admin.display(description=_("restored"), boolean=True)
    def is_restored(self, archive: Any) -> bool:
        return archive.is_restored

    def has_bring_back_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("registry_activity.change_archive")

    @admin.action(
        description=_("Restore the events of selected archives (they are held until the import is released)"),
        permissions=["bring_back"],
    )
    def bring_back(self, request: HttpRequest, queryset: QuerySet[Archive]) -> None:
        ready = list(queryset.exclude(deleted_at=None).values_list("name", flat=True)[: MAX_IMPORTED + 1])
        if not ready or len(ready) > MAX_IMPORTED:
            messages.error(
                request,
                gettext("Select 1 to %(max_imported)s archives whose events have been deleted.")
                % {"max_imported": MAX_IMPORTED},
            )
            return
        try:
            import_archives.delay(ready)
        except (QueueError, OSError) as error:
            messages.error(request, gettext("The task queue is unreachable: %(error)s") % {"error": error})
        else:
            text = gettext("The worker is restoring the events. The archives will be listed under Imports.")
            messages.success(request, text)


def _formatted(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else "–"


def matching(word: str) -> Q:
    """Return the condition for archives that match a word of a search."""
    if re.fullmatch(r"[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}", word):
        return Q(first_id__lte=UUID(word), last_id__gte=UUID(word))
    if re.fullmatch(r"\d{4}-\d\d(-\d\d)?", word, re.ASCII):
        is_month = len(word) == len("2026-09")
        try:
            start = datetime.strptime(word, "%Y-%m" if is_month else "%Y-%m-%d").replace(tzinfo=UTC)
            end = start + (relativedelta(months=1) if is_month else relativedelta(days=1))
            return Q(first_id__lt=first_id(end), last_id__gte=first_id(start))
        except (ValueError, OverflowError):
            return Q(pk__in=[])
    return Q(name__icontains=word) | Q(rule_text__icontains=word) | Q(repository_text__icontains=word)
