"""The `day`, `moment`, `second` and `end` filters, which format times in the way of the current language."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from django import template

from repositories.utils.moments import format_end, format_time

register = template.Library()


def _format(moment: Any, precision: str) -> str:
    return format_time(moment, precision) if isinstance(moment, datetime) else ""


@register.filter(expects_localtime=True)
def day(moment: date | None) -> str:
    return _format(moment, "day")


@register.filter(expects_localtime=True)
def moment(moment: datetime | None) -> str:
    return _format(moment, "moment")


@register.filter(expects_localtime=True)
def second(moment: datetime | None) -> str:
    return _format(moment, "second")


@register.filter(expects_localtime=True)
def end(moment: datetime | None) -> str:
    return format_end(moment) if isinstance(moment, datetime) else ""
