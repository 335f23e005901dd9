"""The `not_pulled_for` parameter, which limits a list to what nobody has pulled for a number of days."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers

from repositories.forms import MAX_PERIOD

NAME = "not_pulled_for"
FIELD = serializers.IntegerField(min_value=1, max_value=MAX_PERIOD.days)
PARAMETER = OpenApiParameter(
    NAME,
    {"type": "integer", "minimum": FIELD.min_value, "maximum": FIELD.max_value},
    description=(
        "List only what has been there for this number of days and was not pulled in that time, as far as you"
        " may see pulls."
    ),
)
