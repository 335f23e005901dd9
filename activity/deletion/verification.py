"""Proves that only auto-deletion has removed events: compares the events with the ledger and the archives.

For each day, the ledger says how many events were recorded and imported, and how many each run has deleted.
What remains must be there. If a run has archived what it deleted, the archives must have as many events.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC

from django.db.models import Count, Sum, Value
from django.db.models.functions import TruncDate
from django.utils import timezone

from activity.deletion import archives
from activity.deletion.archive_files import ArchiveError
from activity.models import Archive, Event, LedgerEntry, Run, TallyChange, Verification

KEPT = 100
"""The number of verifications to keep."""
PRESENT = "present"
RUN, IMPORT = "run ", "import "


@dataclass
class Day:
    """The numbers of events of one day (UTC)."""

    day: str
    recorded: int = 0
    imported: int = 0
    deleted: dict[str, int] = field(default_factory=dict)
    """The number of events that each run has deleted."""
    archived: int = 0
    present: int = 0

    @property
    def expected(self) -> int:
        return self.recorded + self.imported - sum(self.deleted.values())

    def problems(self) -> Iterator[str]:
        if missing := self.expected - self.present:
            what = (
                f"{missing} events are missing" if missing > 0 else f"{-missing} events are unaccounted for"
            )
            yield f"{self.day}: {what}. {self.expected} must be there, and {self.present} are."


def verify(started_by: str) -> Verification:
    """Compare all events with the ledger, and all archives with what was deleted, and store the result.

    It is stored at the beginning, too, so that a verification that never finished is noticed.
    """
    verification = Verification.objects.create(started_by=started_by)
    Verification.objects.filter(pk__lte=verification.pk - KEPT).delete()
    try:
        days = _days()
        problems = [problem for day in days.values() for problem in day.problems()]
        verification.problems = sorted([*problems, *_problems_of_archives(days)])
        verification.days = [asdict(days[day]) for day in sorted(days, reverse=True)]
    except Exception as error:
        verification.problems = [f"The verification failed: {type(error).__name__}: {error}"]
        raise
    finally:
        verification.finished_at = timezone.now()
        verification.save()
    return verification


def _days() -> dict[str, Day]:
    """Return the numbers of each day.

    One statement reads them, so that events that are recorded meanwhile count either everywhere or nowhere.
    """
    changes = TallyChange.objects.exclude(cause=TallyChange.RECOUNTED)
    unfolded = changes.annotate(day=TruncDate("start", tzinfo=UTC)).values_list("day", "cause")
    events = Event.objects.annotate(day=TruncDate("occurred_at", tzinfo=UTC)).values("day")
    rows = (
        LedgerEntry.objects.values_list("day", "cause", "events")
        .union(
            unfolded.annotate(number=Sum("events")).order_by(),
            events.annotate(cause=Value(PRESENT), number=Count("pk"))
            .values_list("day", "cause", "number")
            .order_by(),
            all=True,
        )
        .iterator()
    )
    days: dict[str, Day] = {}
    for moment, cause, total in rows:
        number = int(total)  # PostgreSQL returns sums of integers as decimals
        day = days.setdefault(f"{moment:%Y-%m-%d}", Day(f"{moment:%Y-%m-%d}"))
        if cause == PRESENT:
            day.present += number
        elif cause.startswith(IMPORT):
            day.imported += number
        elif cause.startswith(RUN):
            day.deleted[cause] = day.deleted.get(cause, 0) - number
        else:
            day.recorded += number
    return days


def _problems_of_archives(days: dict[str, Day]) -> Iterator[str]:
    """Compare the archives with what was deleted, and check their files."""
    archived: defaultdict[tuple[str, str], int] = defaultdict(int)
    for archive in Archive.objects.exclude(deletion_started_at=None, deleted_at=None).order_by("pk"):
        for day, number in archive.days.items():
            archived[f"{RUN}{archive.run_id}", day] += number
        try:
            archives.verify(archive)
        except (ArchiveError, OSError) as error:
            yield f"Archive {archive}: {error}"
    runs = {f"{RUN}{run.pk}": run for run in Run.objects.exclude(deleted=0)}
    for day in days.values():
        for cause, number in day.deleted.items():
            found, run = archived[cause, day.day], runs.get(cause)
            day.archived += found
            if run is None:
                yield f"{day.day}: {cause} deleted {number} events, but is not listed."
            elif run.settings.get("archive") and found < number:
                yield f"{day.day}: {cause} deleted {number} events, but its archives have only {found}."
