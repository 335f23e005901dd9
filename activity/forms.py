"""What a reader may choose on an events page: the time range, the order, and whether pulls are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone

from activity.feed import LONGEST_SORT, SORTABLE
from activity.identity import EPOCH

PERIODS = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
    "quarter": timedelta(days=90),
}
RANGES = [
    ("all", "All time"),
    ("hour", "Last hour"),
    ("day", "Last 24 hours"),
    ("week", "Last 7 days"),
    ("month", "Last 30 days"),
    ("quarter", "Last 90 days"),
    ("custom", "From … to …"),
]
SORTS = ["time", *SORTABLE]


@dataclass(frozen=True)
class Choice:
    """What the reader sees, after the longest sort was held to."""

    range: str
    after: datetime | None
    before: datetime | None
    column: str
    descending: bool
    exclude_pull: bool
    shortened: bool
    """Whether the range was shortened for the sake of the sort."""


def since_1970(moment: datetime) -> None:
    """Refuse times that no event can have."""
    if moment < EPOCH + LONGEST_SORT:
        raise ValidationError("There are no events that old.")


class ActivityForm(forms.Form):
    """The choices, all in the address, so that a view can be shared."""

    range = forms.ChoiceField(label="Time range", choices=RANGES)
    after = forms.DateTimeField(label="From", required=False, validators=[since_1970])
    before = forms.DateTimeField(label="To", required=False, validators=[since_1970])
    sort = forms.ChoiceField(choices=[(f"{sign}{name}", name) for name in SORTS for sign in ("", "-")])
    exclude_pull = forms.TypedChoiceField(
        choices=[("true", "yes"), ("false", "no")], coerce=lambda text: text == "true"
    )

    DEFAULTS = {"range": "all", "sort": "-time", "exclude_pull": "true"}

    def __init__(self, query: Mapping[str, Any], offers_pulls: bool) -> None:
        super().__init__({**self.DEFAULTS, **{name: query[name] for name in query if query[name]}})
        if not offers_pulls:
            del self.fields["exclude_pull"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        after, before = cleaned.get("after"), cleaned.get("before")
        if after and before and after >= before:
            self.add_error("before", "The end of the range must come after its beginning.")
        return cleaned

    def choice(self) -> Choice:
        """Return what was chosen; what is invalid falls back to its default, and the page says so."""
        chosen = (
            self.cleaned_data if self.is_valid() else {**self.cleaned_data, "after": None, "before": None}
        )
        range_ = chosen.get("range", "all")
        sort = chosen.get("sort", "-time")
        after, before = self._bounds(range_, chosen)
        column, descending = sort.lstrip("-"), sort.startswith("-")
        shortened = False
        if column != "time":
            end = before or timezone.now()
            earliest = end - LONGEST_SORT
            if after is None or after < earliest - PERIODS["hour"]:  # "Last 90 days" itself isn't too long
                shortened, after = True, earliest
                range_ = "custom" if before else "quarter"
        return Choice(
            range=range_,
            after=after,
            before=before,
            column=column,
            descending=descending,
            exclude_pull=chosen.get("exclude_pull", True),
            shortened=shortened,
        )

    def _bounds(self, range_: str, chosen: dict[str, Any]) -> tuple[datetime | None, datetime | None]:
        if range_ == "custom":
            return chosen.get("after"), chosen.get("before")
        return (timezone.now() - PERIODS[range_] if range_ in PERIODS else None), None
