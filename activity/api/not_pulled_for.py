"""The `not_pulled_for` parameter, which limits a list to what nobody has pulled for a number of days."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers

from activity.api.base import ApiView
from repositories.forms import MAX_PERIOD

NAME = "not_pulled_for"
PARAMETER = OpenApiParameter(
    NAME,
    {"type": "integer", "minimum": 1, "maximum": MAX_PERIOD.days},
    description=(
        "List only what has been there for this number of days and was not pulled in that time, as far as you"
        " may see pulls."
    ),
)


def read(view: ApiView) -> int | None:
    """Return the number of days that the caller gives, or None. Raises ValidationError."""
    # A field for each request, because its messages keep the language in which they were first read.
    return view.read_parameter(NAME, serializers.IntegerField(min_value=1, max_value=MAX_PERIOD.days))
