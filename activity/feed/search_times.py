"""Parses times that users enter: in a search, and in the fields of a form.

Times without a UTC offset are in the user's time zone, in which some times occur twice and others never.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from dateutil.relativedelta import relativedelta
from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext

from activity.feed.ordering import LONGEST_SORT
from activity.identity import END, EPOCH

DATE = re.compile(r"\d{4}(-\d{2}){0,2}", re.ASCII)
"""A year, a month or a day."""
AGO = re.compile(r"(\d{1,4})([hdwmy])", re.ASCII)
UNITS = {"h": "hours", "d": "days", "w": "weeks", "m": "months", "y": "years"}
WEEKDAYS = {
    name.lower(): day for names in (calendar.day_name, calendar.day_abbr) for day, name in enumerate(names)
}


class InvalidTime(ValueError):
    """A text that is not a time."""


@dataclass(frozen=True)
class Period:
    """A year, a month, a day, or a point in time, whose start and end are equal. Times are in UTC."""

    start: datetime
    end: datetime
    notice: str = ""
    """What the user should know about how the text was read."""

    @property
    def is_point(self) -> bool:
        return self.start == self.end


def parse_period(value: str, now: datetime) -> Period:
    """Parse a time. `now` is in the user's time zone. Raises InvalidTime."""
    try:
        return _parse(value, now)
    except (ValueError, OverflowError):
        text = gettext(
            "'%(value)s' is not a time. Use a day (2026-11-22), a month (2026-11), a date and time"
            " (2026-11-22T14:30), a weekday, today, yesterday, or a relative time (24h, 7d, 3m)."
        )
        raise InvalidTime(text % {"value": value}) from None


def _parse(value: str, now: datetime) -> Period:
    word, zone = value.lower(), now.tzinfo or UTC
    today = now.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    if word in ("today", "yesterday"):
        return _whole(today - relativedelta(days=word == "yesterday"), "days", zone)
    if word in WEEKDAYS:
        return _whole(today - relativedelta(days=(now.weekday() - WEEKDAYS[word]) % 7), "days", zone)
    if ago := AGO.fullmatch(word):
        length = relativedelta(**{UNITS[ago[2]]: int(ago[1])})  # type: ignore[arg-type]
        start = _storable(now.astimezone(UTC) - length)
        return Period(start, start)
    if DATE.fullmatch(value):
        hyphens = value.count("-")
        start = datetime.fromisoformat(value + "-01" * (2 - hyphens))
        return _whole(start, ("years", "months", "days")[hyphens], zone)
    moment, notice = resolve(datetime.fromisoformat(value), zone)
    return Period(_storable(moment), moment, notice)


def _whole(start: datetime, unit: str, zone: tzinfo) -> Period:
    """Return a whole day, month or year. If its first hour occurs twice or never, nobody needs to know."""
    end = start + relativedelta(**{unit: 1})  # type: ignore[arg-type]
    return Period(_storable(resolve(start, zone)[0]), resolve(end, zone)[0])


def _storable(moment: datetime) -> datetime:
    """Return the time. Raises ValueError if it is before 1970, because event ids can't represent it."""
    if moment < EPOCH:
        raise ValueError
    return moment


def resolve(moment: datetime, zone: tzinfo) -> tuple[datetime, str]:
    """Return a time in UTC, and a notice if it occurs twice or never in the time zone.

    When clocks are set back, an hour occurs twice. The earlier one is used. When they are set forward, an
    hour is left out. Times in that hour are moved forward as the clocks are.
    """
    if timezone.is_aware(moment):
        return moment.astimezone(UTC), ""
    first, second = (moment.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first == second:
        return first, ""
    found = first.astimezone(zone)
    if found.replace(tzinfo=None, fold=0) == moment:
        text = gettext(
            "%(time)s occurred twice in %(zone)s, because clocks were set back. The earlier time is used"
            " (%(used)s)."
        )
    else:
        text = gettext(
            "%(time)s did not occur in %(zone)s, because clocks were set forward. %(used)s is used instead."
        )
    values = {"time": f"{moment:%Y-%m-%d %H:%M}", "zone": zone, "used": f"{found:%H:%M %Z}"}
    return first, text % values


class TimeField(forms.CharField):
    """A form field for a time, with or without a UTC offset. Its value is a `Period` without length."""

    def clean(self, value: str) -> Period | None:
        text = super().clean(value)
        if not text:
            return None
        try:
            parsed = parse_datetime(text) or datetime.fromisoformat(text)
            if parsed.year > END.year:  # a time zone could move it out of the range of datetime
                return Period(END, END)
            moment, notice = resolve(parsed, timezone.get_current_timezone())
        except (ValueError, OverflowError):
            raise ValidationError(gettext("Enter a date and time like 2026-11-22T14:30.")) from None
        moment = min(moment, END)
        if moment < EPOCH + LONGEST_SORT:
            raise ValidationError(gettext("This time is too far in the past."))
        return Period(moment, moment, notice)


def input_of(moment: datetime) -> tuple[str, str]:
    """Return the type and the value of an input element that keeps a time exactly.

    `datetime-local` has no UTC offset, so it can't distinguish the second of two equal local times from the
    first.
    """
    local = timezone.localtime(moment)
    seconds = "minutes" if not local.second and not local.microsecond else "milliseconds"
    naive = local.replace(tzinfo=None, fold=0)
    if resolve(naive, timezone.get_current_timezone())[0] != moment:
        return "text", local.isoformat(timespec=seconds)
    return "datetime-local", naive.isoformat(timespec=seconds)
