"""Filters for lists of events, shared by the pages and the API."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from django import forms
from django.core import exceptions
from django.db.models import QuerySet
from django.http import QueryDict
from django.utils import timezone
from django.utils.functional import cached_property
from django_filters import rest_framework as filters
from django_filters.utils import translate_validation
from rest_framework.exceptions import ValidationError
from rest_framework.filters import BaseFilterBackend

from activity import catalogue
from activity.feed import search, search_language
from activity.models import ActorType, Event, EventQuerySet
from repositories import names
from repositories.access.people import visible_organizations
from repositories.access.resolving import Access
from repositories.models import MAX_GROUP_NAME_PART, Policy, RegistrySettings, Repository


class EventFilterSet(filters.FilterSet):
    """Filters for a list of events. Multiple filters are combined with AND."""

    # The first filter: it returns the queryset without the filters that come after it.
    q = filters.CharFilter(
        method="filter_search",
        label="A search, such as `type:delete -actor:jane after:7d`. Times are in UTC.",
    )
    repository = filters.CharFilter(
        max_length=names.MAX_NAME_LENGTH, method="filter_repository", label="Full name of the repository."
    )
    namespace = filters.CharFilter(
        max_length=names.MAX_NAME_LENGTH,
        method="filter_namespace",
        label="Namespace of the repository, or `_` for none.",
    )
    organization = filters.CharFilter(
        max_length=MAX_GROUP_NAME_PART,
        method="filter_organization",
        label="An organization that you can see. Matches events in all of its namespaces.",
    )
    type = filters.MultipleChoiceFilter(
        method="filter_types",
        label="Event type, such as CREATE. Repeat for multiple values.",
    )
    category = filters.MultipleChoiceFilter(
        method="filter_categories",
        label="Event category, such as push. Repeat for multiple values.",
    )
    policy = filters.CharFilter(
        max_length=8,
        method="filter_policy",
        label="Policy ID. Matches events caused by the policy, and changes to it.",
    )
    tag = filters.CharFilter(
        max_length=names.MAX_TAG_LENGTH, label="Tag without the repository, such as `v1`."
    )
    digest = filters.CharFilter(max_length=names.MAX_DIGEST_LENGTH, label="Full digest.")
    actor = filters.CharFilter(max_length=255, field_name="actor_name", label="Username or policy ID.")
    actor_type = filters.MultipleChoiceFilter(
        choices=ActorType.choices, distinct=False, label="Type of the actor. Repeat for multiple values."
    )
    after = filters.IsoDateTimeFilter(
        method=lambda events, _, moment: events.between(after=moment),
        label="Occurred at this time or later (ISO 8601).",
    )
    before = filters.IsoDateTimeFilter(
        method=lambda events, _, moment: events.between(before=moment),
        label="Occurred before this time (ISO 8601).",
    )
    exclude_pull = filters.TypedChoiceFilter(
        choices=[("true", "true"), ("false", "false")],
        coerce=lambda text: text == "true",
        method="filter_exclude_pull",
        label="Exclude pulls (default: false).",
    )

    class Meta:
        model = Event
        fields: list[str] = []

    def __init__(
        self,
        *args: Any,
        access: Access,
        scanning_enabled: bool,
        sees_system: bool = True,
        parsed: search_language.Search | None = None,
        **kwargs: Any,
    ) -> None:
        """Build the filters. `parsed` is the search, if it has been parsed already."""
        super().__init__(*args, **kwargs)
        self.access = access
        self.parsed = parsed
        self.filters["q"].extra["validators"] = [self._check_search]
        for name, offered in (("type", catalogue.offered_types), ("category", catalogue.offered_categories)):
            choices: Iterable[Any] = offered(scanning_enabled, sees_system)
            self.filters[name].extra["choices"] = [(choice.value, choice.label) for choice in choices]

    def get_form_class(self) -> Any:
        """Return a form class that rejects unknown parameters. A typo would otherwise disable a filter."""
        return type("EventFilterForm", (StrictForm, super().get_form_class()), {})

    @cached_property
    def search_plan(self) -> search.Plan:
        """The plan for the search, without the other filters."""
        parsed = self.parsed
        if parsed is None:
            parsed = search_language.parse(self.data.get("q", ""), timezone.get_current_timezone())
        return search.plan(self.queryset, parsed, self.access)

    @property
    def plan(self) -> search.Plan:
        """The plan for the search, among the events that match the other filters."""
        return replace(self.search_plan, scope=super().qs)

    @property
    def qs(self) -> EventQuerySet:
        """All matching events. If there is a search, `plan` finds them while reading a bounded number."""
        return self.plan.events()

    def _check_search(self, _: str) -> None:
        if self.search_plan.problems:
            raise exceptions.ValidationError(list(self.search_plan.problems))

    def filter_search(self, queryset: EventQuerySet, _: str, value: str) -> EventQuerySet:
        return self.search_plan.scope

    def filter_repository(self, queryset: QuerySet, _: str, value: str) -> QuerySet:
        # Fetch the ids first, so that the planner can estimate how many events each repository has.
        return queryset.filter(repository__in=_ids_or_unused(Repository.objects.named(value)))

    def filter_namespace(self, queryset: QuerySet, _: str, value: str) -> QuerySet:
        return queryset.filter(repository__in=Repository.objects.filter(namespace__name=value).values("pk"))

    def filter_organization(self, queryset: QuerySet, _: str, value: str) -> QuerySet:
        owners = visible_organizations(self.request.user).filter(name=value)
        owned = Repository.objects.filter(namespace__organization__in=owners)
        return queryset.filter(repository__in=owned.order_by().values("pk"))

    def filter_policy(self, queryset: QuerySet, _: str, value: str) -> QuerySet:
        return queryset.filter(policy__in=_ids_or_unused(Policy.objects.filter(public_id=value)))

    # The OpenAPI schema takes the types of these filters' values from the type hints.

    def filter_types(self, queryset: EventQuerySet, _: str, value: list[str]) -> EventQuerySet:
        return queryset.of_types(value)

    def filter_categories(self, queryset: EventQuerySet, _: str, value: list[str]) -> EventQuerySet:
        return queryset.filter(category__in=value)

    def filter_exclude_pull(self, queryset: EventQuerySet, _: str, value: bool) -> EventQuerySet:
        return queryset.without_pulls() if value else queryset


def _ids_or_unused(rows: QuerySet) -> list[int]:
    """Return the ids of rows, or an unused id if there are no rows.

    Django runs no query for an empty list, and the response time would then reveal whether something that the
    viewer can't see exists.
    """
    return list(rows.values_list("pk", flat=True)) or [0]


class StrictForm(forms.Form):
    """A form that rejects unknown parameters, and several values where only one is possible."""

    PAGING_PARAMETERS = frozenset({"cursor", "page_size"})

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        for name in sorted(set(self.data) - set(self.fields) - self.PAGING_PARAMETERS):
            self.errors[name] = self.error_class(["Unknown filter."])
        for name, values in self.data.lists() if isinstance(self.data, QueryDict) else ():
            if len(values) > 1 and not isinstance(self.fields.get(name), forms.MultipleChoiceField):
                self.errors[name] = self.error_class(["Only one value is possible."])
        return cleaned


class NoFilters(BaseFilterBackend):
    """Rejects all parameters of a list that has no filters."""

    def filter_queryset(self, request: Any, queryset: QuerySet, view: Any) -> QuerySet:
        if unknown := sorted(set(request.query_params) - StrictForm.PAGING_PARAMETERS):
            raise ValidationError({name: ["Unknown filter."] for name in unknown})
        return queryset


class EventFilterBackend(filters.DjangoFilterBackend):
    """Applies the filters to an API view, with choices that depend on the settings and the viewer's role."""

    def filter_queryset(self, request: Any, queryset: QuerySet, view: Any) -> QuerySet:
        """Return the matching events, and set `view.plan`, with which they can be read page by page."""
        filterset = self.get_filterset(request, queryset, view)
        if not filterset.is_valid():
            raise translate_validation(filterset.errors)
        view.plan = filterset.plan
        return filterset.qs

    def get_filterset_kwargs(self, request: Any, queryset: QuerySet, view: Any) -> dict[str, Any]:
        return {
            **super().get_filterset_kwargs(request, queryset, view),
            "access": view.access,
            "scanning_enabled": RegistrySettings.get_solo().scanning_enabled,
            "sees_system": view.access.sees_everything,
        }
