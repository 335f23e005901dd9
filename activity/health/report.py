"""The list of all checks, and the report of what they have found.

Each check is a function that yields its findings. To add one, write the function and add it to `CHECKS`.
The cost of a check must not grow with the number of events.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from activity.health import programs, registries, storage
from activity.health.findings import Finding, State

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Check:
    name: str
    label: Promise
    find: Callable[[datetime], Iterable[Finding]]
    all_clear: Promise
    """What to say if nothing was found."""


CHECKS = [
    Check("worker", _("Worker"), programs.check_worker, _("The Celery worker is running.")),
    Check("beat", _("Beat"), programs.check_beat, _("Celery beat is running.")),
    Check("recorder", _("Recorder"), programs.check_recorder, _("Messages are recorded in time.")),
    Check("schedule", _("Schedule"), programs.check_schedule, _("The scheduled tasks start on time.")),
    Check("runs", _("Auto-deletion"), programs.check_runs, _("No run is stuck or has failed.")),
    Check("folding", _("Folding"), programs.check_folding, _("Counts are folded in time.")),
    Check("space", _("Disk space"), storage.check_space, _("The database has room for more events.")),
    Check(
        "archives",
        _("Archives"),
        storage.check_archives,
        _("Archives can be written, or archiving is off."),
    ),
    Check(
        "verification",
        _("Verification"),
        storage.check_verification,
        _("No verification has found anything missing."),
    ),
    Check("partitions", _("Partitions"), storage.check_partitions, _("No partition is missing.")),
    Check("registries", _("Registries"), registries.check_registries, _("No registry is quiet or cut off.")),
    Check("clocks", _("Clocks"), registries.check_clocks, _("No clock is known to be wrong.")),
    Check("dead_letters", _("Dead letters"), registries.check_dead_letters, _("No messages wait.")),
    Check("namespaces", _("Namespaces"), registries.check_namespaces, _("Every namespace has an owner.")),
]


@dataclass(frozen=True)
class Result:
    """The findings of a check, the worst first. There is at least one."""

    check: Check
    findings: list[Finding]

    @property
    def state(self) -> State:
        return self.findings[0].state


def create_report() -> list[Result]:
    """Execute all checks, and return their results, the worst first."""
    now = timezone.now()
    return sorted((_execute(check, now) for check in CHECKS), key=lambda result: -result.state)


def worst_state(results: Iterable[Result]) -> State:
    return max((result.state for result in results), default=State.OK)


def _execute(check: Check, now: datetime) -> Result:
    try:
        findings = sorted(check.find(now), key=lambda finding: -finding.state)
    except Exception as error:  # the other checks are still worth knowing
        logger.exception("The check %s failed.", check.name)
        text = gettext("This could not be checked: %(error)s")
        findings = [Finding(State.ERROR, text % {"error": f"{type(error).__name__}: {error}"})]
    return Result(check, findings or [Finding(State.OK, str(check.all_clear))])
