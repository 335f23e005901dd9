"""The metrics that Prometheus collects. All of them are read from the database."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Sum
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from activity.health.programs import MAX_JOURNAL, MAX_UNFOLDED
from activity.health.registries import MAX_DEAD_LETTERS
from activity.health.report import Result
from activity.models import DeadLetter, Heartbeat, Registry, Run, Tally, TallyChange
from activity.storage import journal, tallies


class HealthCollector(Collector):
    """Yields the metrics of a report, and the numbers behind them."""

    def __init__(self, results: list[Result]) -> None:
        self.results = results

    def collect(self) -> Iterator[Metric]:
        checks = GaugeMetricFamily(
            "activity_health", "State of each check: 0 ok, 1 warning, 2 error", labels=["check"]
        )
        for result in self.results:
            checks.add_metric([result.check.name], result.state)
        yield checks
        yield from self._times()
        yield from self._counts()

    def _times(self) -> Iterator[Metric]:
        beats = GaugeMetricFamily(
            "activity_heartbeat_timestamp_seconds", "Last heartbeat of a program", labels=["program"]
        )
        for row in Heartbeat.objects.all():
            beats.add_metric([row.program], row.beat_at.timestamp())
        yield beats
        contacts = GaugeMetricFamily(
            "activity_registry_contact_timestamp_seconds", "Last contact of a registry", labels=["registry"]
        )
        for registry in Registry.objects.select_related("account"):
            contacts.add_metric([str(registry)], registry.last_contact_at.timestamp())
        yield contacts
        if run := Run.objects.filter(preview=False).first():
            started = run.started_at.timestamp()
            yield GaugeMetricFamily("activity_run_timestamp_seconds", "Start of the last run", value=started)
            states = GaugeMetricFamily("activity_run_state", "State of the last run", labels=["state"])
            for state in Run.State.values:
                states.add_metric([state], state == run.state)
            yield states

    def _counts(self) -> Iterator[Metric]:
        letters = DeadLetter.objects.filter(DeadLetter.WAITING).order_by()[: MAX_DEAD_LETTERS + 1].count()
        yield GaugeMetricFamily(
            "activity_dead_letters", f"Dead letters that wait, at most {MAX_DEAD_LETTERS + 1}", value=letters
        )
        yield GaugeMetricFamily(
            "activity_journal_entries",
            f"Messages that wait to be recorded, at most {MAX_JOURNAL + 1}",
            value=journal.count_waiting(MAX_JOURNAL + 1),
        )
        changes = TallyChange.objects.order_by()[: MAX_UNFOLDED + 1].count()
        yield GaugeMetricFamily(
            "activity_unfolded_counts", f"Counts to be folded, at most {MAX_UNFOLDED + 1}", value=changes
        )
        events = GaugeMetricFamily(
            "activity_events", "Events in the database that have been folded", labels=["category"]
        )
        counted = tallies.valid(Tally.Unit.WEEK).filter(repository=Tally.ALL)
        for category, number in counted.values_list("category").annotate(number=Sum("events")).order_by():
            events.add_metric([category], number)
        yield events
