"""Filters for lists of events, shared by the pages and the API."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import reduce
from operator import and_
from typing import Any

from django.core import exceptions
from django.db.models import Q, QuerySet
from django.http import QueryDict
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext, gettext_lazy
from django_filters import rest_framework as filters
from django_filters.utils import translate_validation
from drf_spectacular.utils import extend_schema_field
from rest_framework.exceptions import ValidationError
from rest_framework.filters import BaseFilterBackend

from activity import catalogue
from activity.feed import known_names, search_language
from activity.feed.conditions import (
    Condition,
    branches_of,
    by_actors,
    in_any,
    with_tags,
    with_whole_digests,
)
from activity.feed.plans import Plan
from activity.feed.search import plan as plan_search
from activity.models import ActorType, Event, EventQuerySet
from repositories import names
from repositories.access.levels import Category
from repositories.access.resolving import Access
from repositories.models import MAX_GROUP_NAME_PART, Policy, RegistrySettings, Repository


class EventFilterSet(filters.FilterSet):
    """Filters for a list of events. Multiple filters are combined with AND."""

    # Each method takes a plan in place of a queryset, and returns the plan for the filtered list.
    search = filters.CharFilter(
        max_length=search_language.MAX_LENGTH,
        method=lambda plan, *_: plan,  # `search_plan` contains the search
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
        max_length=names.MAX_TAG_LENGTH,
        method="filter_tag",
        label="Tag without the repository, such as `v1`.",
    )
    digest = filters.CharFilter(
        max_length=names.MAX_DIGEST_LENGTH, method="filter_digest", label="Full digest."
    )
    actor = filters.CharFilter(
        max_length=255, method="filter_actor", label="Username or policy ID, in any case."
    )
    actor_type = filters.MultipleChoiceFilter(
        choices=ActorType.choices,
        method="filter_actor_type",
        label="Type of the actor. Repeat for multiple values.",
    )
    after = filters.IsoDateTimeFilter(
        method=lambda plan, _, moment: plan.between(after=moment),
        label="Occurred at this time or later (ISO 8601).",
    )
    before = filters.IsoDateTimeFilter(
        method=lambda plan, _, moment: plan.between(before=moment),
        label="Occurred before this time (ISO 8601).",
    )
    exclude_pull = filters.TypedChoiceFilter(
        choices=[("true", "true"), ("false", "false")],
        coerce=lambda text: text == "true",
        method="filter_exclude_pull",
        error_messages={"invalid_choice": gettext_lazy("Must be true or false.")},
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
        repository: Repository | None = None,
        conditions: Iterable[Condition] = (),
        **kwargs: Any,
    ) -> None:
        """Build the filters.

        `parsed` is the search, if it has been parsed already. `repository` is the repository that the
        queryset is limited to, and `conditions` are those that limit the list besides the filters.
        """
        super().__init__(*args, **kwargs)
        self.unfiltered = Plan(self.queryset, access, repository, conditions=[*conditions])
        self.access = access
        if parsed is not None:
            self.parsed = parsed
        self.filters["search"].extra["validators"] = [self._check_search]
        for name, offered in (("type", catalogue.offered_types), ("category", catalogue.offered_categories)):
            choices: Iterable[Any] = offered(scanning_enabled, sees_system)
            self.filters[name].extra["choices"] = [(choice.value, choice.label) for choice in choices]

    @cached_property
    def parsed(self) -> search_language.Search:
        return search_language.parse(self.data.get("search", ""), timezone.get_current_timezone())

    @cached_property
    def search_plan(self) -> Plan:
        """The plan for the search, without the other filters."""
        return plan_search(self.unfiltered, self.parsed)

    @cached_property
    def plan(self) -> Plan:
        """The plan for the events that match the search and the other filters."""
        self.is_valid()
        return self.filter_queryset(self.search_plan)

    @property
    def qs(self) -> EventQuerySet:
        """All matching events. With `plan`, a page of them is found while reading a bounded number."""
        return self.plan.events()

    def filter_queryset(self, plan: Plan) -> Plan:
        """Return the plan, limited by each filter."""
        for name, value in self.form.cleaned_data.items():
            plan = self.filters[name].filter(plan, value)
        return plan

    # The names of repositories are resolved first, among those that the viewer may know. So nothing is read
    # for a name that doesn't exist, and no more for one that the viewer can't see.

    def filter_repository(self, plan: Plan, _: str, value: str) -> Plan:
        return self._in(plan, Repository.objects.named(value))

    def filter_namespace(self, plan: Plan, _: str, value: str) -> Plan:
        return self._in(plan, self._in_namespace(value))

    def filter_organization(self, plan: Plan, _: str, value: str) -> Plan:
        return self._in(plan, self._of_organization(value))

    def _in(self, plan: Plan, repositories: QuerySet[Repository]) -> Plan:
        known = known_names.repositories(self.access).filter(pk__in=repositories.order_by().values("pk"))
        return plan.where(in_any(known.order_by()))

    def filter_policy(self, plan: Plan, _: str, value: str) -> Plan:
        # For a policy that doesn't exist, events are sought, too, as for one that the viewer can't see.
        found = [*Policy.objects.filter(public_id=value).values_list("pk", flat=True)] or [0]
        return plan.where(Condition(Q(policy__in=found), branches_of("policy", found)))

    # The OpenAPI schema takes the types of these filters' values from the type hints.

    def filter_tag(self, plan: Plan, _: str, value: str) -> Plan:
        return plan.where(with_tags([value], self.access))

    def filter_digest(self, plan: Plan, _: str, value: str) -> Plan:
        return plan.where(with_whole_digests([value]))

    def filter_actor(self, plan: Plan, _: str, value: str) -> Plan:
        return plan.where(by_actors([value], self.access))

    def filter_actor_type(self, plan: Plan, _: str, value: list[str]) -> Plan:
        return plan.where(Condition(Q(actor_type__in=value)))

    # The choices depend on the viewer, so the schema can't take them from the filters.

    @extend_schema_field({"type": "string", "enum": sorted(catalogue.Type.values)})
    def filter_types(self, plan: Plan, _: str, value: list[str]) -> Plan:
        return plan.of_kinds(kind.key for kind in catalogue.KINDS.values() if kind.type in value)

    @extend_schema_field({"type": "string", "enum": sorted(Category.values)})
    def filter_categories(self, plan: Plan, _: str, value: list[str]) -> Plan:
        return plan.of_kinds(kind.key for kind in catalogue.kinds_of(value))

    @extend_schema_field({"type": "boolean", "default": False, "description": "Exclude pulls."})
    def filter_exclude_pull(self, plan: Plan, _: str, value: bool) -> Plan:
        return plan.without_pulls() if value else plan

    def _check_search(self, _: str) -> None:
        if self.search_plan.problems:
            raise exceptions.ValidationError(list(self.search_plan.problems))

    @property
    def within(self) -> QuerySet[Repository] | None:
        """The repositories that the filters select, or None if no filter selects repositories."""
        chosen = {
            "repository": Repository.objects.named,
            "namespace": self._in_namespace,
            "organization": self._of_organization,
        }
        values = self.form.cleaned_data
        found = [select(values[name]) for name, select in chosen.items() if values[name]]
        return reduce(and_, found) if found else None

    def _in_namespace(self, name: str) -> QuerySet[Repository]:
        return Repository.objects.filter(namespace__name=name).order_by()

    def _of_organization(self, name: str) -> QuerySet[Repository]:
        owners = self.access.organizations().filter(name=name)
        return Repository.objects.filter(namespace__organization__in=owners).order_by()


def further_parameters(view: Any) -> set[str]:
    """Return the names of the parameters that a view of the API has besides filters."""
    paging = getattr(getattr(view, "paginator", None), "parameters", ())
    return {*view.parameters, *paging, *(["fields"] if view.is_sparse else [])}


def check_parameters(request: Any, view: Any) -> None:
    """Raise ValidationError if a view without filters can't read a parameter."""
    if problems := _problems_of(request.query_params, further_parameters(view)):
        raise ValidationError(problems)


def _problems_of(query: QueryDict, known: set[str], repeatable: Collection[str] = ()) -> dict[str, list[str]]:
    """Return which parameters are unknown, which wrongly have several values, and which have none."""
    problems = {name: [gettext("Unknown parameter.")] for name in sorted(set(query) - known)}
    for name, values in query.lists():
        if len(values) > 1 and name not in repeatable:
            problems.setdefault(name, [gettext("Only one value is possible.")])
        elif "" in values:
            problems.setdefault(name, [gettext("There is no value.")])
    return problems


class NoFilters(BaseFilterBackend):
    """Rejects all parameters of a view that has no filters, except those of its pages and fields."""

    def filter_queryset(self, request: Any, queryset: QuerySet, view: Any) -> QuerySet:
        check_parameters(request, view)
        return queryset


class EventFilterBackend(filters.DjangoFilterBackend):
    """Applies the filters to an API view, with choices that depend on the settings and the viewer's role."""

    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> QuerySet:
        """Return the matching events, and set `view.plan`, with which they can be read page by page."""
        if further_parameters(view).issuperset(request.query_params):  # building the forms takes 1 ms
            check_parameters(request, view)
            view.plan = Plan(queryset, view.access, getattr(view, "repository", None))
            return view.plan.events()
        filterset = self.get_filterset(request, queryset, view)
        view.plan = filterset.plan
        return filterset.qs

    def get_filterset(self, request: Any, queryset: Any, view: Any) -> EventFilterSet:
        """Return the filters. Raises ValidationError if a parameter can't be read.

        A misspelled parameter would otherwise disable a filter.
        """
        found: EventFilterSet = super().get_filterset(request, queryset, view)
        repeatable = {
            name for name, each in found.filters.items() if isinstance(each, filters.MultipleChoiceFilter)
        }
        known = further_parameters(view).union(found.filters)
        if errors := translate_validation(found.errors).detail | _problems_of(
            request.query_params, known, repeatable
        ):
            raise ValidationError(errors)
        return found

    def get_filterset_kwargs(self, request: Any, queryset: QuerySet, view: Any) -> dict[str, Any]:
        return {
            **super().get_filterset_kwargs(request, queryset, view),
            "access": view.access,
            "repository": getattr(view, "repository", None),
            "scanning_enabled": RegistrySettings.get_solo().scanning_enabled,
            "sees_system": view.access.sees_everything,
        }
