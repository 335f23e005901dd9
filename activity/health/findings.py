"""What checks find, and how they put numbers and times into words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Any

from django.contrib.humanize.templatetags.humanize import intcomma
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext, ngettext


class State(IntEnum):
    OK = 0
    WARNING = 1
    ERROR = 2

    @property
    def label(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Finding:
    """A problem that a check found, and the page where it can be fixed."""

    state: State
    text: str
    page: str = ""
    """The name of the page's URL pattern."""
    arguments: tuple[Any, ...] = ()

    @property
    def link(self) -> str:
        """The URL of the page, or an empty string if there is none in this site."""
        try:
            return reverse(self.page, args=self.arguments) if self.page else ""
        except NoReverseMatch:
            return ""


def number_in_words(number: int, maximum: int) -> str:
    """Return a number, or say that it is more than the maximum."""
    if number > maximum:
        return gettext("more than %(number)s") % {"number": intcomma(maximum)}
    return intcomma(number)


def duration_in_words(duration: timedelta) -> str:
    """Return a duration as text, such as `3 minutes`."""
    if duration < timedelta(minutes=1):
        seconds = max(0, int(duration.total_seconds()))
        return ngettext("%(number)s second", "%(number)s seconds", seconds) % {"number": seconds}
    now = timezone.now()
    return timesince(now - duration, now, depth=1).replace("\xa0", " ")
