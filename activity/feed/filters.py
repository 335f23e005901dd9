"""Filters for lists of events, shared by the pages and the API."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.db.models import QuerySet
from django_filters import rest_framework as filters

from activity import catalogue
from activity.models import ActorType, Event, EventQuerySet
from repositories import names
from repositories.access.people import visible_organizations
from repositories.models import MAX_GROUP_NAME_PART, Policy, RegistrySettings, Repository


class EventFilterSet(filters.FilterSet):
    """Filters for a list of events. Multiple filters are combined with AND."""

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
        distinct=False, label="Event category, such as push. Repeat for multiple values."
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

    def __init__(self, *args: Any, scanning_enabled: bool, sees_system: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, offered in (("type", catalogue.offered_types), ("category", catalogue.offered_categories)):
            choices: Iterable[Any] = offered(scanning_enabled, sees_system)
            self.filters[name].extra["choices"] = [(choice.value, choice.label) for choice in choices]

    def get_form_class(self) -> Any:
        """Return a form class that rejects unknown parameters. A typo would otherwise disable a filter."""
        return type("EventFilterForm", (StrictForm, super().get_form_class()), {})

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

    def filter_exclude_pull(self, queryset: EventQuerySet, _: str, value: bool) -> EventQuerySet:
        return queryset.without_pulls() if value else queryset


def _ids_or_unused(rows: QuerySet) -> list[int]:
    """Return the ids of rows, or an unused id if there are no rows.

    Django runs no query for an empty list, and the response time would then reveal whether something that the
    viewer can't see exists.
    """
    return list(rows.values_list("pk", flat=True)) or [0]


class StrictForm(forms.Form):
    """A form that rejects unknown parameters."""

    PAGING_PARAMETERS = frozenset({"cursor", "page_size"})

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        for name in sorted(set(self.data) - set(self.fields) - self.PAGING_PARAMETERS):
            self.errors[name] = self.error_class(["Unknown filter."])
        return cleaned


class EventFilterBackend(filters.DjangoFilterBackend):
    """Applies the filters to an API view, with choices that depend on the settings and the viewer's role."""

    def get_filterset_kwargs(self, request: Any, queryset: QuerySet, view: Any) -> dict[str, Any]:
        return {
            **super().get_filterset_kwargs(request, queryset, view),
            "scanning_enabled": RegistrySettings.get_solo().scanning_enabled,
            "sees_system": view.access.sees_everything,
        }
