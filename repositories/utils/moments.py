"""Formats times for texts, in the way of the current language."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

from django.utils import formats
from django.utils.translation import get_language, gettext

AMERICAN = {
    "long_day": "F j, Y",
    "day": "M j, Y",
    "moment": "M j, Y g:i A",
    "second": "M j, Y g:i:s A",
}
"""The formats for American English, whose format in Django has neither short months nor aligned minutes."""
OTHER = {
    "long_day": "DATE_FORMAT",
    "day": "DATE_FORMAT",
    "moment": "DATETIME_FORMAT",
    "second": "DATETIME_FORMAT",
}
"""The names of Django's formats, which each language defines."""


def format_time(moment: date, precision: str) -> str:
    """Format a time in its own time zone, to the precision `long_day`, `day`, `moment` or `second`."""
    language = get_language() or "en"
    names = AMERICAN if language in ("en", "en-us") else OTHER
    return formats.date_format(moment, names[precision])


def format_end(end: datetime) -> str:
    """Format the end of a period in its own time zone. Midnight is the end of the day before."""
    if end.time() != time.min:
        return format_time(end, "moment")
    return gettext("the end of %(day)s") % {"day": format_time(end.date() - timedelta(days=1), "day")}
