"""Detect and replace characters that some supported databases can't store."""

from __future__ import annotations

import re
from typing import Any

from django.db.models import QuerySet
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.utils import translation

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Letters, marks and symbols that look like nothing. Source: Unicode's Default_Ignorable_Code_Point."""


def is_storable(text: str) -> bool:
    """Return whether every supported database can store the text: it has no NULs or unpaired surrogates."""
    return not UNSTORABLE.search(text)


def get_named_or_404(rows: QuerySet, **names: str) -> Any:
    """Return the row with these names. Raises Http404 if there is none, or if a name can't be stored."""
    if not all(map(is_storable, names.values())):
        raise Http404
    return get_object_or_404(rows, **names)


def untranslated(text: Any) -> str:
    """Return a text in English. Whatever is stored is the same in every language."""
    with translation.override(None):
        return str(text)


def visible_text(text: str) -> str:
    """Return the text with its invisible characters escaped, for example as `\\u200b`.

    Otherwise, a made-up name could look like the name of somebody else.
    """
    if text.isascii() and text.isprintable():  # nearly all names
        return text
    return "".join(
        char if char.isprintable() and not BLANK.match(char) else char.encode("unicode_escape").decode()
        for char in text
    )


def visible_lines(text: str) -> str:
    """Return a text of several lines with its invisible characters escaped, except line breaks and tabs."""
    return re.sub(r"[^\n\t]+", lambda match: visible_text(match[0]), text)


def storable_text(text: str, length: int) -> str:
    """Return text truncated to `length` characters, with unstorable characters replaced."""
    return UNSTORABLE.sub("�", text[:length])
