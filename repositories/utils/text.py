"""Detect and replace characters that some supported databases can't store."""

from __future__ import annotations

import re
from typing import Any

from django.db.models import QuerySet
from django.http import Http404
from django.shortcuts import get_object_or_404

UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Return whether every supported database can store the text: it has no NULs or unpaired surrogates."""
    return not UNSTORABLE.search(text)


def get_named_or_404(rows: QuerySet, **names: str) -> Any:
    """Return the row with these names. Raises Http404 if there is none, or if a name can't be stored."""
    if not all(map(is_storable, names.values())):
        raise Http404
    return get_object_or_404(rows, **names)


def storable_text(text: str, length: int) -> str:
    """Return text truncated to `length` characters, with unstorable characters replaced."""
    return UNSTORABLE.sub("�", text[:length])
