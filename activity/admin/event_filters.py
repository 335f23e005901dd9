"""Filters for the admin list of events. Each filter adds terms to the search entered in the search box."""

from __future__ import annotations

import calendar
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.db.models import QuerySet, TextChoices
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dates import MONTHS
from django.utils.translation import gettext_lazy as _

from activity import catalogue
from activity.feed.qualifiers import InvalidTerm
from activity.feed.search_language import QUALIFIERS_BY_NAME_OR_ALIAS, Search, Term, parse, read_term
from activity.feed.search_times import DATE, TimeField, input_of
from activity.identity import moment_of
from activity.models import MAX_ACTOR_LENGTH, ActorType, Event
from repositories.models import Namespace, RegistrySettings, Repository
from repositories.utils.parameters import problems_of_fields


class SearchFilter:
    """A filter that supplies a `Search` for `EventChangeList` instead of filtering the queryset itself."""

    search: Search

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset


class TermFilter(SearchFilter, admin.SimpleListFilter):
    """A filter for a single search term. Its query parameter has the same name as the term."""

    parameter_name: str

    offered: Callable[[bool], Iterable[TextChoices]]
    """Returns the values to offer, given whether scanning is enabled."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        offered = self.offered(RegistrySettings.get_solo().scanning_enabled)
        return [(choice.value, str(choice.label)) for choice in offered]

    @property
    def search(self) -> Search:  # type: ignore[override]
        if not (value := self.value()):
            return Search()
        try:
            return Search((read_term(self.parameter_name, value),))
        except InvalidTerm as error:
            return Search(problems=(str(error),))


class CategoryFilter(TermFilter):
    title = _("category")
    parameter_name = "category"
    offered = staticmethod(catalogue.offered_categories)


class TypeFilter(TermFilter):
    title = _("type")
    parameter_name = "type"
    offered = staticmethod(catalogue.offered_types)


class ActorTypeFilter(TermFilter):
    title = _("actor type")
    parameter_name = "actor-type"
    offered = staticmethod(lambda scanning_enabled: ActorType)


class OccurredFilter(SearchFilter, admin.SimpleListFilter):
    """A date filter that lets the user drill down to a year, a month or a day.

    Django's `date_hierarchy` would read all events to find the dates that have events.
    """

    title = _("date")
    parameter_name = "occurred"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        parts = self._selected_parts()
        if not parts:
            return [(str(year), str(year)) for year in event_years(model_admin.get_queryset(request))]
        year, *rest = parts
        choices = [(f"{year}", f"{year}")]
        if not rest:
            return choices + [(f"{year}-{m:02}", MONTHS[m]) for m in range(1, 13)]
        month = rest[0]
        choices.append((f"{year}-{month:02}", f"{MONTHS[month]} {year}"))
        days = calendar.monthrange(year, month)[1]
        return choices + [(f"{year}-{month:02}-{day:02}", str(day)) for day in range(1, days + 1)]

    @property
    def search(self) -> Search:  # type: ignore[override]
        value = self.value()
        return parse(f"on:{value}", timezone.get_current_timezone()) if value else Search()

    def _selected_parts(self) -> list[int]:
        """Return the selected [year], [year, month] or [year, month, day], or [] if no date is selected."""
        value = self.value() or ""
        if not DATE.fullmatch(value) or self.search.problems:
            return []
        return [int(part) for part in value.split("-")]


def event_years(events: QuerySet[Event]) -> range:
    """Return every year from the year of the first event to the year of the last event."""
    ids = events.values_list("pk", flat=True)
    first, last = ids.order_by("pk").first(), ids.order_by("-pk").first()
    if first is None or last is None:
        return range(0)
    return range(moment_of(first).year, moment_of(last).year + 1)


class TimeInput(forms.TextInput):
    """A date and time picker, or a text field for a time that the picker can't show."""

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        try:
            period = TimeField(required=False).clean(value)
            type_, text = input_of(period.start) if period else ("datetime-local", "")
        except forms.ValidationError:
            type_, text = "text", value
        context["widget"].update(type=type_, value=text)
        context["widget"]["attrs"]["step"] = "any"
        return context


class FilterForm(forms.Form):
    """A form for the filters that have too many values for a list of links.

    There can be thousands of repositories and namespaces, so their widgets load them as the user types.
    """

    repository = forms.ModelChoiceField(
        Repository.objects.select_related("namespace"),
        required=False,
        widget=AutocompleteSelect(Event._meta.get_field("repository"), admin.site),
    )
    namespace = forms.ModelChoiceField(
        Namespace.objects.all(),
        required=False,
        widget=AutocompleteSelect(Repository._meta.get_field("namespace"), admin.site),
    )
    actor = forms.CharField(required=False, max_length=MAX_ACTOR_LENGTH)
    kind = forms.ChoiceField(
        required=False,
        choices=[("", _("Any")), *((kind.key, kind.label) for kind in catalogue.KINDS.values())],
    )
    after = TimeField(required=False, widget=TimeInput)
    before = TimeField(required=False, widget=TimeInput)

    def search(self) -> Search:
        """Return the search for the selected values."""
        if not self.is_valid():
            return Search(problems=tuple(problems_of_fields(self)))
        chosen = {name: value for name, value in self.cleaned_data.items() if value}
        times = {name: chosen.pop(name) for name in ("after", "before") if name in chosen}
        names = {name: QUALIFIERS_BY_NAME_OR_ALIAS[name].name for name in chosen}
        return Search(
            tuple(Term(names[name], str(value)) for name, value in chosen.items()),
            **{name: period.start for name, period in times.items()},
            notices=tuple(period.notice for period in times.values() if period.notice),
        )


class FormFilter(SearchFilter, admin.ListFilter):
    """Shows a `FilterForm` among the filters."""

    title = _("repository, actor, kind and time")
    template = "admin/registry_activity/event/filter_form.html"
    NAMES: ClassVar[list[str]] = list(FilterForm.base_fields)

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        self.used_parameters = {name: params.pop(name)[-1] for name in self.NAMES if name in params}
        form = FilterForm(self.used_parameters)
        self.search = form.search()
        # The widgets of these fields can show only ids.
        unshowable = {"repository", "namespace"} & form.errors.keys()
        self.form = FilterForm(
            {name: self.used_parameters[name] for name in form.data if name not in unshowable}
        )

    def has_output(self) -> bool:
        return True

    def expected_parameters(self) -> list[str | None]:
        return [*self.NAMES]

    def choices(self, changelist: Any) -> Iterator[dict[str, Any]]:
        """Yield the query parameters of the other filters, which the form submits as hidden fields."""
        for name, value in changelist.params.items():
            if name not in self.NAMES:
                yield {"name": name, "value": value}
