"""The filters of the admin list of events, which add terms to the search entered in the search box."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.db.models import QuerySet, TextChoices
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from activity import catalogue
from activity.feed.search_language import QUALIFIERS_BY_NAME_OR_ALIAS, Search, Term, parse
from activity.feed.search_times import DATE, TimeField, input_of
from activity.models import MAX_ACTOR_LENGTH, ActorType, Event
from repositories.models import Namespace, RegistrySettings, Repository
from repositories.utils.parameters import problems_of_fields


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
    """The filters of the list of events, which are combined with the search.

    There can be thousands of repositories and namespaces, so their widgets load them as the user types.
    """

    repository = forms.ModelChoiceField(
        Repository.objects.select_related("namespace"),
        label=_("Repository"),
        required=False,
        widget=AutocompleteSelect(Event._meta.get_field("repository"), admin.site),
    )
    namespace = forms.ModelChoiceField(
        Namespace.objects.all(),
        label=_("Namespace"),
        required=False,
        widget=AutocompleteSelect(Repository._meta.get_field("namespace"), admin.site),
    )
    category = forms.ChoiceField(label=_("Category"), required=False)
    type = forms.ChoiceField(label=_("Type"), required=False)
    kind = forms.ChoiceField(
        label=_("Kind"),
        required=False,
        choices=[("", _("Any")), *((kind.key, kind.label) for kind in catalogue.KINDS.values())],
    )
    actor = forms.CharField(label=_("Actor"), required=False, max_length=MAX_ACTOR_LENGTH)
    actor_type = forms.ChoiceField(
        label=_("Actor type"), required=False, choices=[("", _("Any")), *ActorType.choices]
    )
    occurred = forms.CharField(
        label=_("Date"),
        required=False,
        widget=forms.TextInput({"placeholder": "2026, 2026-11, 2026-11-22"}),
    )
    after = TimeField(label=_("After"), required=False, widget=TimeInput)
    before = TimeField(label=_("Before"), required=False, widget=TimeInput)

    def __init__(self, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(data)
        scanning_enabled = RegistrySettings.get_solo().scanning_enabled
        self._offer("category", catalogue.offered_categories(scanning_enabled))
        self._offer("type", catalogue.offered_types(scanning_enabled))

    def _offer(self, name: str, values: Iterable[TextChoices]) -> None:
        choices = [("", _("Any")), *((each.value, each.label) for each in values)]
        self.fields[name].choices = choices  # type: ignore[attr-defined]

    def clean_occurred(self) -> Search:
        """Read a year, a month or a day."""
        value = self.cleaned_data["occurred"]
        if not value:
            return Search()
        search = parse(f"on:{value}", timezone.get_current_timezone())
        if search.problems or not DATE.fullmatch(value):
            raise forms.ValidationError(_("Enter a year, a month or a day like 2026-11-22."))
        return search

    def search(self) -> Search:
        """Return the search for the selected values."""
        if not self.is_valid():
            return Search(problems=tuple(problems_of_fields(self)))
        chosen = {name: value for name, value in self.cleaned_data.items() if value}
        occurred = chosen.pop("occurred", Search())
        times = {name: chosen.pop(name) for name in ("after", "before") if name in chosen}
        names = {name: QUALIFIERS_BY_NAME_OR_ALIAS[name.replace("_", "-")].name for name in chosen}
        return occurred & Search(
            tuple(Term(names[name], str(value)) for name, value in chosen.items()),
            **{name: period.start for name, period in times.items()},
            notices=tuple(period.notice for period in times.values() if period.notice),
        )


class EventFilter(admin.ListFilter):
    """The only filter of the list. It supplies the search of a `FilterForm` instead of filtering itself."""

    title = _("filters")
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

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset
