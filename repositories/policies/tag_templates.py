"""How a policy names the tags that it makes: `%n-%Y%m%d` makes `v1-20261122` of `v1`."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from django.core.exceptions import ValidationError

from repositories import names

PLACEHOLDERS = {
    "%n": "the tag itself",
    "%Y": "the year",
    "%m": "the month, 01 to 12",
    "%d": "the day, 01 to 31",
    "%H": "the hour, 00 to 23",
    "%M": "the minute",
    "%S": "the second",
}
"""Those of MSR that make sense in every language; times are in UTC."""
SAME_TAG = "%n"

_PLACEHOLDER = re.compile(r"%.?")


def render(template: str, tag: str, at: datetime) -> str:
    """Return the new tag that is made of a tag at a moment. It may be too long to be one."""

    def value(match: re.Match[str]) -> str:
        return tag if match[0] == SAME_TAG else f"{at.astimezone(UTC):{match[0]}}"

    return _PLACEHOLDER.sub(value, template)


def validate(template: str) -> None:
    """Raise ValidationError for a template that makes no tags."""
    for placeholder in _PLACEHOLDER.findall(template):
        if placeholder not in PLACEHOLDERS:
            raise ValidationError(
                "There is no placeholder “%(placeholder)s”. There are %(known)s.",
                params={"placeholder": placeholder, "known": ", ".join(PLACEHOLDERS)},
            )
    if not names.is_tag(render(template, "v", datetime(2026, 11, 22, tzinfo=UTC))):
        raise ValidationError(
            "This makes no tag: tags hold letters, digits, _ . and -, at most 128, and begin with a letter,"
            " a digit or _."
        )
