"""Rejects values of filters that nothing can match.

An empty list would look as if nothing had happened.
"""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext

from activity.feed.conditions import WHOLE_DIGEST
from repositories import names

SHA2 = re.compile(r"(sha256|sha384|sha512):", re.IGNORECASE)


class FilterForm(forms.Form):
    """The values of all filters of a list."""

    def clean(self) -> dict[str, Any]:
        """Reject a time range that ends before it begins. Polling clients may ask for an empty one."""
        values: dict[str, Any] = super().clean() or {}
        after, before = values.get("after"), values.get("before")
        if after and before and before < after:
            self.add_error("before", gettext("This is earlier than the start of the time range."))
        return values


def check_repository(value: str) -> None:
    if names.split_digest(value)[1] or names.split_reference(value)[1]:
        raise ValidationError(gettext("This contains a tag or a digest, which have filters of their own."))


def check_namespace(value: str) -> None:
    if "/" in value:
        raise ValidationError(gettext("This is a repository, not a namespace."))


def check_tag(value: str) -> None:
    """Accept a tag, or a tag with its repository, as lists show it: `acme/web:v1`."""
    tag = names.split_reference(value)[1] or value
    if "/" in tag or ":" in tag:
        raise ValidationError(gettext("This is neither a tag like v1 nor a reference like acme/web:v1."))


def check_digest(value: str) -> None:
    """Accept a whole digest. Those with an unknown algorithm can have any length."""
    if (":" not in value or SHA2.match(value)) and not WHOLE_DIGEST.fullmatch(value):
        raise ValidationError(
            gettext("This is only a part of a digest. The search digest:… finds the beginning of one.")
        )
