"""Looks up objects of the admin by any text, and lists them by any parameters.

Nothing causes a server error, or costs more than a fixed amount.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.contrib import messages
from django.contrib.admin import BooleanFieldListFilter, ChoicesFieldListFilter, ModelAdmin, SimpleListFilter
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import BaseModelAdmin, IncorrectLookupParameters
from django.contrib.admin.views.main import SEARCH_VAR
from django.contrib.admin.widgets import AutocompleteSelect, AutocompleteSelectMultiple
from django.core.exceptions import ValidationError
from django.db.models import Field, QuerySet
from django.forms import ModelMultipleChoiceField
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.utils.translation import gettext as _

from repositories.utils.text import is_storable, visible_text

MAX_WORDS = 10
"""The maximum number of words in a search. Each word is a condition of the query for each searched field."""
MAX_ROWS = 200
"""The maximum number of rows in a formset. Django would create as many as a request asks for, up to 2,000."""


def mark_unreadable(request: HttpRequest) -> None:
    """Let a list show no objects and return the status 400, because its parameters can't be understood."""
    request.is_unreadable = True  # type: ignore[attr-defined]


def is_unreadable(request: HttpRequest) -> bool:
    return getattr(request, "is_unreadable", False)


def is_value(field: Field, text: str) -> bool:
    """Return whether a text is a possible value of a model's field, such as its primary key."""
    try:
        field.clean(text, None)
    except ValidationError:
        return False
    return is_storable(text)


def is_searchable(text: str) -> bool:
    """Return whether a text can be searched for. The form of Django's lists allows any number of words."""
    return is_storable(text) and len(text.split()) <= MAX_WORDS


class Autocomplete(AutocompleteSelect):
    """A field with suggestions. Django's own widget looks up invalid values in the database to show them."""

    def optgroups(self, name: str, value: Sequence[Any], attr: Any = None) -> list[Any]:
        return super().optgroups(name, _possible_keys(self.field, value), attr)


class AutocompleteMultiple(AutocompleteSelectMultiple):
    """A field for several objects. See `Autocomplete`."""

    def optgroups(self, name: str, value: Sequence[Any], attr: Any = None) -> list[Any]:
        return super().optgroups(name, _possible_keys(self.field, value), attr)


def _possible_keys(relation: Any, values: Sequence[Any]) -> list[Any]:
    key = relation.remote_field.model._meta.pk
    return [value for value in values if str(value) == "" or is_value(key, str(value))]


def _offers_its_value(spec: Any, changelist: Any) -> bool:
    """Return whether the value of a list's filter is one of its choices, if it has no others."""
    if isinstance(spec, SimpleListFilter):
        return spec.value() in (None, *dict(spec.lookup_choices))
    if isinstance(spec, (BooleanFieldListFilter, ChoicesFieldListFilter)):
        return any(choice["selected"] for choice in spec.choices(changelist))
    return True


class ObjectsField(ModelMultipleChoiceField):
    """A field for several objects. Django's own field passes numbers to the database that it can't store."""

    def clean(self, value: Any) -> Any:
        key: Any = self.queryset.model._meta.pk  # type: ignore[union-attr]
        for pk in value or ():
            if not is_value(key, str(pk)):
                raise ValidationError(self.error_messages["invalid_pk_value"], params={"pk": pk})
        return super().clean(value)


class RelationsMixin(BaseModelAdmin):
    """Validates the values of fields that refer to other objects, also in inlines."""

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in self.get_autocomplete_fields(request):
            kwargs.setdefault("widget", Autocomplete(db_field, self.admin_site))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in self.get_autocomplete_fields(request):
            kwargs.setdefault("widget", AutocompleteMultiple(db_field, self.admin_site))
        kwargs.setdefault("form_class", ObjectsField)
        return super().formfield_for_manytomany(db_field, request, **kwargs)


class LookupMixin(RelationsMixin, ModelAdmin):
    """Treats ids and words that no database can store as unknown, and limits the size of forms and searches.

    Django's own admin passes them to the database. If it can't read the parameters of a list, it shows all
    objects. This class shows none, and says why.
    """

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        return super().get_object(request, object_id, from_field or None) if is_storable(object_id) else None

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        queryset = super().get_queryset(request)
        return queryset.none() if is_unreadable(request) else queryset

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        try:
            if not is_searchable(request.GET.get(SEARCH_VAR, "")):
                raise IncorrectLookupParameters
            changelist = super().get_changelist_instance(request)
            if not self._is_readable(changelist, request):
                raise IncorrectLookupParameters
            return changelist
        except IncorrectLookupParameters:
            parameters = visible_text(request.GET.urlencode())[:200]
            messages.error(
                request,
                _("Nothing is shown, because the list can't be filtered by %(parameters)s.")
                % {"parameters": parameters},
            )
            request.GET = QueryDict()
            mark_unreadable(request)
            return super().get_changelist_instance(request)

    def _is_readable(self, changelist: Any, request: HttpRequest) -> bool:
        """Return whether a list can be searched, if it is, and each filter has one of its choices."""
        if request.GET.get(SEARCH_VAR) and not self.get_search_fields(request):
            return False
        return all(_offers_its_value(spec, changelist) for spec in changelist.filter_specs)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        if is_unreadable(request) and response.status_code == 200:
            response.status_code = 400
        return response

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet, search_term: str
    ) -> tuple[QuerySet, bool]:
        if not is_searchable(search_term):
            return queryset.none(), False
        return super().get_search_results(request, queryset, search_term)

    def response_action(self, request: HttpRequest, queryset: QuerySet, *args: Any) -> HttpResponse | None:
        """Apply an action to the selected objects, or say that they can't be found."""
        selected = request.POST.getlist(ACTION_CHECKBOX_NAME)
        are_keys = all(is_value(self.opts.pk, text) for text in selected)
        if selected and not (are_keys and queryset.filter(pk__in=selected).exists()):
            messages.error(
                request, _("The selected objects don't exist, or no longer do. Nothing was changed.")
            )
            return HttpResponseRedirect(request.get_full_path())
        return super().response_action(request, queryset, *args)

    def get_formsets_with_inlines(self, request: HttpRequest, obj: Any = None) -> Iterator[Any]:
        for formset, inline in super().get_formsets_with_inlines(request, obj):
            formset.max_num = min(formset.max_num, MAX_ROWS)
            formset.absolute_max = min(formset.absolute_max, MAX_ROWS)
            yield formset, inline
