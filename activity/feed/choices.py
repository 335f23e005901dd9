"""The form on an events page: filters, time range, sort order, and whether to include pulls."""

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
from activity.models import MAX_ACTOR_LENGTH, actor_name_from_label
from repositories import names

PERIODS = {
    "hour": ("Last hour", timedelta(hours=1)),
    "day": ("Last 24 hours", timedelta(days=1)),
    "week": ("Last 7 days", timedelta(days=7)),
    "month": ("Last 30 days", timedelta(days=30)),
    "quarter": ("Last 90 days", timedelta(days=90)),
}
RANGES = {
    "all": "All time",
    **{name: label for name, (label, _) in PERIODS.items()},
    "custom": "Custom range",
}
SORTS = ["time", *SORTABLE]
FILTERS = ("repository", "tag", "type", "actor")
"""The fields that are also API filters, under the same names."""


@dataclass(frozen=True)
class Choice:
    """The choices in effect, after the time range has been limited for sorting."""

    range: str
    after: datetime | None
    before: datetime | None
    column: str
    descending: bool
    exclude_pull: bool
    filters: Mapping[str, Any]
    """The chosen API filters, except for time and pulls."""
    shortened: bool
    """Whether the time range was shortened to `LONGEST_SORT` because of the sort column."""

    @property
    def parameters(self) -> dict[str, Any]:
        """The choices as API filters."""
        bounds = {"after": self.after, "before": self.before}
        times = {name: iso(moment) for name, moment in bounds.items() if moment}
        return {**self.filters, **times, **({"exclude_pull": "true"} if self.exclude_pull else {})}


def iso(moment: datetime) -> str:
    """Format a time as ISO 8601 in UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def validate_event_time(moment: datetime) -> None:
    """Raise ValidationError if a time is too late for any event, or too early to subtract `LONGEST_SORT`."""
    if moment > END:
        raise ValidationError("This time is too far in the future.")
    if moment < EPOCH + LONGEST_SORT:
        raise ValidationError("This time is too far in the past.")


class ActivityForm(forms.Form):
    """The filter form on an events page, read from the query string so that filtered pages can be shared."""

    range = forms.ChoiceField(label="Time range", choices=list(RANGES.items()))
    after = forms.DateTimeField(label="From", required=False, validators=[validate_event_time])
    before = forms.DateTimeField(label="To", required=False, validators=[validate_event_time])
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
        self, query: Mapping[str, Any], *, offers_pulls: bool, scanning_enabled: bool, fixed: Collection[str]
    ) -> None:
        """Build the form without the fields in `fixed`, whose values are determined by the page."""
        super().__init__({**self.DEFAULTS, **{name: query[name] for name in query if query[name]}})
        for name in fixed:
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
            self.add_error("before", "The end of the range must be after its start.")
        # Also accept values in the format of the columns: `acme/web:v1` and `PROMOTION 7A4DC340`.
        tag_repository, _, tag = cleaned.get("tag", "").rpartition(":")
        repository_name = (cleaned.get("repository") or tag_repository) if "repository" in self.fields else ""
        return {
            **cleaned,
            "repository": repository_name,
            "tag": tag,
            "type": [cleaned["type"]] if cleaned.get("type") else [],
            "actor": actor_name_from_label(cleaned.get("actor", "")),
        }

    def choice(self) -> Choice:
        """Return the choices in effect. Invalid fields fall back to their defaults, and the page says so."""
        is_valid, chosen = self.is_valid(), self.cleaned_data
        range_, sort = chosen.get("range", "all"), chosen.get("sort", "-time")
        after = before = None
        if range_ == "custom" and is_valid:
            after, before = chosen["after"], chosen["before"]
        elif range_ in PERIODS:
            after = timezone.now() - PERIODS[range_][1]
        column, shortened = sort.lstrip("-"), False
        if column != "time":
            earliest = (before or timezone.now()) - LONGEST_SORT
            # Allow an hour of leeway, so that "Last 90 days" itself is not shortened.
            if after is None or after < earliest - timedelta(hours=1):
                shortened, after = True, earliest
                range_ = "custom" if before else "quarter"
        return Choice(
            range=range_,
            after=after,
            before=before,
            column=column,
            descending=sort.startswith("-"),
            exclude_pull=chosen.get("exclude_pull", True),
            filters={name: chosen[name] for name in FILTERS if chosen.get(name)},
            shortened=shortened,
        )
