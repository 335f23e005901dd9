"""Events, for MSR admins and auditors."""

from __future__ import annotations

import calendar
import json
from datetime import datetime
from typing import Any
from uuid import UUID

from dateutil.relativedelta import relativedelta
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html

from activity import catalogue, gating
from activity.admin.capped import CappedPaginator
from activity.admin.read_only import ReadOnlyAdmin
from activity.filters import of_types
from activity.identity import first_id, moment_of
from activity.models import Event
from repositories.access import Access
from repositories.models import RegistrySettings, Repository


class TypeFilter(admin.SimpleListFilter):
    title = "type"
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        offered = catalogue.offered_types(RegistrySettings.get_solo().scanning_enabled)
        return [(choice.value, choice.label) for choice in offered]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return of_types(queryset, [value]) if (value := self.value()) else queryset


class CategoryFilter(admin.SimpleListFilter):
    title = "category"
    parameter_name = "category"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        offered = catalogue.offered_categories(RegistrySettings.get_solo().scanning_enabled)
        return [(choice.value, choice.label) for choice in offered]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(category=self.value()) if self.value() else queryset


class OccurredFilter(admin.SimpleListFilter):
    """Drills down to a year, a month, a day, as a range of ids.

    Django's own `date_hierarchy` looks for the dates that have events, and so reads them all.
    """

    title = "date"
    parameter_name = "occurred"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        parts = self._parts()
        if not parts:
            return [(str(year), str(year)) for year in self._years()]
        year, *rest = parts
        choices = [(f"{year}", f"{year}")]
        if not rest:
            return choices + [(f"{year}-{m:02}", calendar.month_name[m]) for m in range(1, 13)]
        month = rest[0]
        choices.append((f"{year}-{month:02}", f"{calendar.month_name[month]} {year}"))
        days = calendar.monthrange(year, month)[1]
        return choices + [(f"{year}-{month:02}-{day:02}", str(day)) for day in range(1, days + 1)]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        parts = self._parts()
        if not parts:
            return queryset
        step = relativedelta(**{("years", "months", "days")[len(parts) - 1]: 1})  # type: ignore[arg-type]
        try:
            start = datetime(*[*parts, 1, 1][:3])  # type: ignore[arg-type]
            bounds = [first_id(timezone.make_aware(moment)) for moment in (start, start + step)]
        except (ValueError, OverflowError) as error:
            raise IncorrectLookupParameters from error
        return queryset.filter(id__gte=bounds[0], id__lt=bounds[1])

    def _parts(self) -> list[int]:
        """Return year, month and day, as far as chosen."""
        value = self.value() or ""
        if not value:
            return []
        try:
            datetime.strptime(value, "%Y-%m-%d"[: {4: 2, 7: 5, 10: 8}[len(value)]])
        except (ValueError, KeyError) as error:
            raise IncorrectLookupParameters from error
        return [int(part) for part in value.split("-")]

    def _years(self) -> range:
        ids = Event.objects.values_list("pk", flat=True)
        first, last = ids.order_by("pk").first(), ids.order_by("-pk").first()
        if first is None or last is None:
            return range(0)
        return range(moment_of(first).year, moment_of(last).year + 1)


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ["occurred_at", "label", "what", "type", "initiated_by", "sha"]
    list_filter = [OccurredFilter, CategoryFilter, TypeFilter]
    search_fields = ["actor_name"]
    search_help_text = (
        "A repository (acme/web, _/alpine), one with a tag (acme/web:v1), a user, or an event's id."
    )
    sortable_by = ()
    ordering = ["-id"]
    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # they count all rows, once for each choice
    list_per_page = 50
    list_max_show_all = 50
    fields = [
        "id",
        "label",
        "category",
        "repository_name",
        "tag",
        "digest",
        "type",
        "initiated_by",
        "actor_type",
        "occurred_at",
        "received_at",
        "details_shown",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Event]:
        return gating.visible_events(Access.of(request.user))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Event], search_term: str
    ) -> tuple[QuerySet[Event], bool]:
        """Search by what an index serves."""
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            return queryset.filter(pk=UUID(term)), False
        except ValueError:
            pass
        if "/" not in term and ":" not in term:
            return queryset.filter(actor_name=term), False
        name, _, tag = term.removeprefix("_/").partition(":")
        ids = list(Repository.objects.named(name).values_list("pk", flat=True))
        queryset = queryset.filter(repository__in=ids)
        return (queryset.filter(tag=tag) if tag else queryset), False

    @admin.display(description="repository and tag")
    def what(self, event: Event) -> str:
        return event.reference

    @admin.display(description="initiated by")
    def initiated_by(self, event: Event) -> str:
        return event.actor_label

    @admin.display(description="SHA")
    def sha(self, event: Event) -> str:
        return format_html('<span title="{}">{}</span>', event.digest, event.short_digest)

    @admin.display(description="details")
    def details_shown(self, event: Event) -> str:
        return format_html("<pre>{}</pre>", json.dumps(event.details, indent=2, ensure_ascii=False))
