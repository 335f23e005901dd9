"""The numbers of events over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from activity.api.base import READ, ApiView, document
from activity.feed import chart_counts
from activity.feed.chart_counts import Bucket
from activity.feed.filters import EventFilterBackend, EventFilterSet
from activity.feed.reading import MAX_EVENTS_READ
from activity.feed.search_language import Search
from activity.identity import END, EPOCH
from activity.models import Event, EventQuerySet

COUNTED_BY_TALLIES = {
    *("repository", "namespace", "organization", "category"),
    *("after", "before", "exclude_pull"),
}
"""The filters with which events needn't be counted one by one."""


class BucketSerializer(serializers.Serializer):
    """A period, and the number of events in it."""

    start = serializers.DateTimeField()
    end = serializers.DateTimeField(help_text="The end of the period, which doesn't belong to it.")
    total = serializers.IntegerField()
    counts = serializers.DictField(
        child=serializers.IntegerField(min_value=1),
        help_text="The number of events of each category, without categories that have none.",
    )


class HistogramSerializer(serializers.Serializer):
    """The numbers of events over time."""

    counted_from = serializers.DateTimeField(
        allow_null=True,
        help_text=(
            "The time from which events were counted, if not all were: with filters by something else than"
            f" repositories, categories and time, only about the {MAX_EVENTS_READ} newest events are read."
        ),
    )
    buckets = BucketSerializer(many=True)


class HistogramView(ApiView):
    """Count the events that the caller can see, by time and category."""

    scopes = {"GET": READ}
    queryset = Event.objects.none()  # for the OpenAPI schema, which needs the model
    filter_backends = [EventFilterBackend]
    filterset_class = EventFilterSet

    def get_queryset(self) -> EventQuerySet:
        return Event.objects.visible_to(self.access)

    @document(filters=True, responses=HistogramSerializer)
    def get(self, request: Request) -> Response:
        """Count the events that the caller can see, by time and category.

        The periods are consecutive and cover the time from `after` to `before`, or of all events. There are
        at most 61 of them. The pull of an image that has an index counts once, even though it has several
        events.
        """
        filterset = EventFilterBackend().get_filterset(request, self.get_queryset(), self)
        buckets, counted_from = self.count(filterset)
        return Response(HistogramSerializer({"counted_from": counted_from, "buckets": buckets}).data)

    def count(self, filterset: EventFilterSet) -> tuple[list[Bucket], datetime | None]:
        """Return the counts, and the time from which events were counted (None if all were counted)."""
        values = filterset.form.cleaned_data
        bounds = filterset.parsed & Search(after=values["after"], before=values["before"])
        after, before = (moment and min(max(moment, EPOCH), END) for moment in (bounds.after, bounds.before))
        if {name for name, value in values.items() if value} <= COUNTED_BY_TALLIES:
            excluded = bool(values["exclude_pull"])
            buckets = chart_counts.count_by_tallies(
                self.access, within=filterset.within, after=after, before=before, exclude_pull=excluded
            )
            return _of_categories(buckets, values["category"]), None
        return chart_counts.count_events(filterset.plan, after, before)


def _of_categories(buckets: list[Bucket], categories: Collection[str]) -> list[Bucket]:
    """Return buckets with only the counts of some categories, or of all if none is given."""
    if not categories:
        return buckets
    return [
        replace(
            bucket, counts=Counter({name: bucket.counts[name] for name in categories if bucket.counts[name]})
        )
        for bucket in buckets
    ]
