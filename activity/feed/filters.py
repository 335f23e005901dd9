"""Filters of event lists, the same on every one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.db.models import QuerySet
from django.http import QueryDict
from django_filters import rest_framework as filters

from activity import catalogue, gating
from activity.identity import first_id
from activity.models import ActorType, Event
from repositories import names
from repositories.access.people import known_organizations
from repositories.models import MAX_GROUP_PART, Policy, RegistrySettings, Repository


class OccurredFilter(filters.IsoDateTimeFilter):
    """A bound of `occurred_at`, to the millisecond, as a bound of the ids, which begin with it."""

    def filter(self, qs: QuerySet, value: datetime | None) -> QuerySet:
        return qs if value is None else qs.filter(**{f"id__{self.lookup_expr}": first_id(value)})


def of_types(events: QuerySet, types: Collection[str]) -> QuerySet:
    """Return the events of these types."""
    kinds = [kind for kind in catalogue.KINDS.values() if kind.type in types]
    # The categories follow from the kinds; saying so lets their index serve.
    return events.filter(
        kind__in=[kind.key for kind in kinds], category__in={kind.category.value for kind in kinds}
    )


class EventFilterSet(filters.FilterSet):
    """Narrows a list of events that the viewer may see. Conditions are combined by AND."""

    repository = filters.CharFilter(
        max_length=names.MAX_NAME_LENGTH, method="filter_repository", label="Full name of the repository."
    )
    namespace = filters.CharFilter(
        max_length=names.MAX_NAME_LENGTH, method="filter_namespace", label="Its namespace; `_` for none."
    )
    organization = filters.CharFilter(
        max_length=MAX_GROUP_PART,
        method="filter_organization",
        label="An organization of yours: all of its namespaces.",
    )
    type = filters.MultipleChoiceFilter(method="filter_types", label="CREATE, GET, … Repeat it for several.")
    category = filters.MultipleChoiceFilter(distinct=False, label="push, scan, … Repeat it for several.")
    policy = filters.CharFilter(
        max_length=8, method="filter_policy", label="A policy's id: what it did, and what was done to it."
    )
    tag = filters.CharFilter(max_length=names.MAX_TAG_LENGTH, label="The tag alone, such as `v1`.")
    digest = filters.CharFilter(max_length=names.MAX_DIGEST_LENGTH, label="The whole digest.")
    actor = filters.CharFilter(
        max_length=255, field_name="actor_name", label="The user's name, or the policy's id."
    )
    actor_type = filters.MultipleChoiceFilter(
        choices=ActorType.choices, distinct=False, label="Repeat it for several."
    )
    after = OccurredFilter(lookup_expr="gte", label="Occurred at this time or later (ISO 8601).")
    before = OccurredFilter(lookup_expr="lt", label="Occurred before this time (ISO 8601).")
    exclude_pull = filters.TypedChoiceFilter(
        choices=[("true", "true"), ("false", "false")],
        coerce=lambda text: text == "true",
        method="filter_exclude_pull",
        label="Leave pulls out (default: false).",
    )

    class Meta:
        model = Event
        fields: list[str] = []

    def __init__(self, *args: Any, scanning_enabled: bool, sees_system: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        offers: dict[str, Any] = {
            "type": catalogue.offered_types(scanning_enabled, sees_system),
            "category": catalogue.offered_categories(scanning_enabled, sees_system),
        }
        for name, choices in offers.items():
            self.filters[name].extra["choices"] = [(choice.value, choice.label) for choice in choices]

    def get_form_class(self) -> Any:
        """Refuse parameters that are no filters: a misspelt one would silently show everything."""
        form_class = super().get_form_class()
        return type("EventFilterForm", (StrictForm, form_class), {})

    def filter_repository(self, queryset: QuerySet, _: str, value: str) -> QuerySet:
        # Fetched first, since the planner then knows how many events each has.
        return queryset.filter(repository__in=_ids(Repository.objects.named(value)))

    def filter_namespace(self, queryset: QuerySet, _: str, value: str) -> QuerySet:
        return queryset.filter(repository__in=Repository.objects.filter(namespace__name=value).values("pk"))

    def filter_organization(self, queryset: QuerySet, _: str, value: str) -> QuerySet:
        owners = known_organizations(self.request.user).filter(name=value)
        owned = Repository.objects.filter(namespace__organization__in=owners)
        return queryset.filter(repository__in=owned.order_by().values("pk"))

    def filter_policy(self, queryset: QuerySet, _: str, value: str) -> QuerySet:
        return queryset.filter(policy__in=_ids(Policy.objects.filter(public_id=value)))

    def filter_types(self, queryset: QuerySet, _: str, value: list[str]) -> QuerySet:
        return of_types(queryset, value) if value else queryset

    def filter_exclude_pull(self, queryset: QuerySet, _: str, value: bool) -> QuerySet:
        return gating.without_pulls(queryset) if value else queryset


def _ids(rows: QuerySet) -> list[int]:
    """Return the ids of rows, or one that none has: Django asks nothing of the database for an empty list,
    and what isn't there must take as long as what the viewer can't see.
    """
    return list(rows.values_list("pk", flat=True)) or [0]


class StrictForm(forms.Form):
    """A form that knows its parameters."""

    OTHERS = frozenset({"cursor", "page_size"})

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        for name in sorted(set(self.data) - set(self.fields) - self.OTHERS):
            self.errors[name] = self.error_class(["This is not a filter of this list."])
        return cleaned


def narrowed(
    events: QuerySet, parameters: Mapping[str, str], request: Any, scanning_enabled: bool
) -> QuerySet:
    """Return the events that the API would list for these parameters.

    Raises ValueError for what the API would refuse.
    """
    filterset = EventFilterSet(
        QueryDict(urlencode(parameters)),
        queryset=events,
        request=request,
        scanning_enabled=scanning_enabled,
    )
    if not filterset.is_valid():
        raise ValueError(str(filterset.errors))
    return filterset.qs


class EventFilterBackend(filters.DjangoFilterBackend):
    """Applies the filters to a view of the API. Offers scans where scanning is set up, and what is seen."""

    def get_filterset_kwargs(self, request: Any, queryset: QuerySet, view: Any) -> dict[str, Any]:
        return {
            **super().get_filterset_kwargs(request, queryset, view),
            "scanning_enabled": RegistrySettings.get_solo().scanning_enabled,
            "sees_system": view.access.sees_everything,
        }
