"""Finds the parameters of a list that can't be understood, so that none is dropped without a word.

Whoever misspells a filter and gets the whole list could take it for the filtered one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from django.forms import Form
from django.http import QueryDict
from django.utils.translation import gettext

from repositories.utils.text import visible_text

MAX_SHOWN = 100
"""The maximum number of characters of a parameter to show."""


def problems_of(
    query: QueryDict, form: Form, known: Collection[str] = (), repeatable: Collection[str] = ()
) -> list[str]:
    """Return what can't be understood in the parameters of a list whose filters are the fields of a form.

    `known` contains the names of further parameters. Empty parameters count as missing.
    """
    names = {*form.fields, *known}
    return [
        *unknown_parameters(query, names),
        *_unclear_values(query, repeatable),
        *problems_of_fields(form),
    ]


def unknown_parameters(query: QueryDict, known: Collection[str]) -> list[str]:
    """Return an error message for each parameter that is not known."""
    return [
        gettext("Unknown parameter: “%(name)s”.") % {"name": _shown(name)}
        for name in query
        if name not in known
    ]


def problems_of_fields(form: Form) -> list[str]:
    """Return an error message for each invalid field of a form, with its value."""
    return [_problem_of_field(form, name) for name in form.errors]


def _unclear_values(query: QueryDict, repeatable: Collection[str]) -> Iterator[str]:
    for name, values in query.lists():
        if len(values) > 1 and name not in repeatable:
            several = ", ".join(f"“{_shown(value)}”" for value in values[:5])
            text = gettext("%(name)s can be given only once: %(values)s.")
            yield text % {"name": _shown(name), "values": several}
        elif values[-1] and not values[-1].strip():
            text = gettext("%(name)s is blank: “%(value)s”.")
            yield text % {"name": _shown(name), "value": _shown(values[-1])}


def _problem_of_field(form: Form, name: str) -> str:
    message = " ".join(map(str, form.errors[name]))
    if name not in form.fields:
        return message
    bound = form[name]
    value = bound.data or ""
    shown = f" “{_shown(str(value))}”:" if value else ""
    return f"{bound.label}:{shown} {message}"


def _shown(text: str) -> str:
    return visible_text(text[:MAX_SHOWN]) + ("…" if len(text) > MAX_SHOWN else "")
