"""Times in texts follow the language, in the time zone of the reader."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from django.template import Context, Template
from django.utils import timezone, translation

NOON = datetime(2026, 11, 20, 12, 0, 5, tzinfo=UTC)


def render(text: str, language: str, **context: object) -> str:
    template = Template("{% load moments tz %}" + text)
    with translation.override(language), timezone.override(ZoneInfo("Europe/Berlin")):
        return template.render(Context(context))


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", "Nov 20, 2026 1:00 PM|Nov 20, 2026|Nov 20, 2026 1:00:05 PM"),
        ("en-us", "Nov 20, 2026 1:00 PM|Nov 20, 2026|Nov 20, 2026 1:00:05 PM"),
        ("de", "20. November 2026 13:00|20. November 2026|20. November 2026 13:00"),
        ("fr", "20 novembre 2026 13:00|20 novembre 2026|20 novembre 2026 13:00"),
    ],
)
def test_times_follow_the_language(language: str, expected: str) -> None:
    text = "{{ time|moment }}|{{ time|day }}|{{ time|second }}"

    assert render(text, language, time=NOON) == expected


def test_missing_time_is_empty() -> None:
    assert render("{{ time|moment }}{{ time|day }}", "de", time=None) == ""


def test_block_can_select_another_time_zone() -> None:
    assert render('{% timezone "UTC" %}{{ time|moment }}{% endtimezone %}', "de", time=NOON).endswith("12:00")
