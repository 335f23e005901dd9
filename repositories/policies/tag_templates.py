"""Templates for the tags that a policy creates: `%n-%Y%m%d` turns `v1` into `v1-20261122`."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from django.core.exceptions import ValidationError
from django.utils.functional import lazy
from django.utils.text import format_lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from repositories import names

PLACEHOLDERS = {
    "%n": _("the tag itself"),
    "%Y": _("the year"),
    "%m": _("the month, 01 to 12"),
    "%d": _("the day, 01 to 31"),
    "%H": _("the hour, 00 to 23"),
    "%M": _("the minute"),
    "%S": _("the second"),
}
"""MSR's placeholders, except those that depend on the locale. Times are in UTC."""
SAME_TAG = "%n"


def _in_words() -> str:
    return ", ".join(f"{key} ({meaning})" for key, meaning in PLACEHOLDERS.items())


HELP = format_lazy(
    _("You can use these placeholders: {placeholders}. Times are in UTC."),
    placeholders=lazy(_in_words, str)(),
)

_PLACEHOLDER = re.compile(r"%.?")


def render(template: str, tag: str, at: datetime) -> str:
    """Return the tag that a template produces from `tag` at a given time. It may be too long to be valid."""

    def value(match: re.Match[str]) -> str:
        return tag if match[0] == SAME_TAG else f"{at.astimezone(UTC):{match[0]}}"

    return _PLACEHOLDER.sub(value, template)


def validate(template: str) -> None:
    """Raise ValidationError unless a template produces valid tags."""
    for placeholder in _PLACEHOLDER.findall(template):
        if placeholder not in PLACEHOLDERS:
            raise ValidationError(
                gettext("Unknown placeholder “%(placeholder)s”. The placeholders are %(known)s."),
                params={"placeholder": placeholder, "known": ", ".join(PLACEHOLDERS)},
            )
    if not names.is_tag(render(template, "v", datetime(2026, 11, 22, tzinfo=UTC))):
        raise ValidationError(
            gettext(
                "This template doesn't produce a valid tag. A tag consists of at most 128 letters, digits,"
                " underscores, periods and hyphens, and starts with a letter, a digit or an underscore."
            )
        )
