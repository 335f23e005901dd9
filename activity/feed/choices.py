"""What a reader may choose on an events page: which events, the time range, the order, and pulls or not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone

from activity import catalogue
from activity.feed.ordering import LONGEST_SORT, SORTABLE
from activity.identity import END, EPOCH
from activity.models import MAX_ACTOR_LENGTH, actor_in
from repositories import names

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
NARROWING = ("repository", "tag", "type", "actor")
"""The choices that are filters of the API, by the same names."""


@dataclass(frozen=True)
class Choice:
    """What the reader sees, after the longest sort was held to."""

    range: str
    after: datetime | None
    before: datetime | None
    column: str
    descending: bool
    exclude_pull: bool
    narrowing: Mapping[str, str]
    """The filters of the API that were chosen, besides time and pulls."""
    shortened: bool
    """Whether the range was shortened for the sake of the sort."""

    @property
    def parameters(self) -> dict[str, str]:
        """The choice as the API's filters."""
        bounds = {"after": self.after, "before": self.before}
        times = {name: iso(moment) for name, moment in bounds.items() if moment}
        return {**self.narrowing, **times, **({"exclude_pull": "true"} if self.exclude_pull else {})}


def iso(moment: datetime) -> str:
    """Return a moment to the millisecond in UTC, which no time zone makes ambiguous."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def of_events(moment: datetime) -> None:
    """Refuse times that no event can have."""
    if moment > END:
        raise ValidationError("There are no events that late.")
    if moment < EPOCH + LONGEST_SORT:
        raise ValidationError("There are no events that old.")


class ActivityForm(forms.Form):
    """The choices, all in the address, so that a view can be shared."""

    range = forms.ChoiceField(label="Time range", choices=RANGES)
    after = forms.DateTimeField(label="From", required=False, validators=[of_events])
    before = forms.DateTimeField(label="To", required=False, validators=[of_events])
    repository = forms.CharField(required=False, max_length=names.MAX_NAME_LENGTH)
    tag = forms.CharField(required=False, max_length=names.MAX_TAG_LENGTH)
    type = forms.ChoiceField(required=False)
    actor = forms.CharField(label="Initiated by", required=False, max_length=MAX_ACTOR_LENGTH)
    sort = forms.ChoiceField(choices=[(f"{sign}{name}", name) for name in SORTS for sign in ("", "-")])
    exclude_pull = forms.TypedChoiceField(
        choices=[("true", "yes"), ("false", "no")], coerce=lambda text: text == "true"
    )

    DEFAULTS = {"range": "all", "sort": "-time", "exclude_pull": "true"}

    def __init__(
        self,
        query: Mapping[str, Any],
        *,
        offers_pulls: bool,
        scanning_enabled: bool,
        settled: Collection[str],
    ) -> None:
        """`settled` are the choices that the page has made already, such as that of the actor."""
        super().__init__({**self.DEFAULTS, **{name: query[name] for name in query if query[name]}})
        for name in settled:
            del self.fields[name]
        if not offers_pulls:
            del self.fields["exclude_pull"]
        types = catalogue.offered_types(scanning_enabled)
        offered = [(each.value, each.label) for each in types if offers_pulls or each != catalogue.Type.GET]
        self.fields["type"].choices = [("", "All"), *offered]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        after, before = cleaned.get("after"), cleaned.get("before")
        if after and before and after >= before:
            self.add_error("before", "The end of the range must come after its beginning.")
        # What stands in the columns is understood too: `acme/web:v1`, and `PROMOTION 7A4DC340`.
        repository, _, tag = cleaned.get("tag", "").rpartition(":")
        within = (cleaned.get("repository") or repository) if "repository" in self.fields else ""
        return {**cleaned, "repository": within, "tag": tag, "actor": actor_in(cleaned.get("actor", ""))}

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
            narrowing={name: chosen[name] for name in NARROWING if chosen.get(name)},
            shortened=shortened,
        )

    def _bounds(self, range_: str, chosen: dict[str, Any]) -> tuple[datetime | None, datetime | None]:
        if range_ == "custom":
            return chosen.get("after"), chosen.get("before")
        return (timezone.now() - PERIODS[range_] if range_ in PERIODS else None), None
