"""Checks of the database and the archives: whether both have room, and whether any events are missing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

from django.contrib.humanize.templatetags.humanize import intcomma
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, InvalidStorageError, Storage
from django.db import OperationalError, connection
from django.utils.formats import date_format
from django.utils.translation import gettext, ngettext

from activity.config import archive_storage
from activity.deletion import archive_files, changes
from activity.health import programs
from activity.health.findings import Finding, State, duration_in_words
from activity.models import Verification
from activity.storage import heartbeats, journal, partitions

PROBE_SIZE = 64 << 10
"""How many bytes are written to the archive storage, and removed, to see whether that works."""
MESSAGE_SIZE = 8 << 10
"""How many bytes are written to the journal, and removed, to see whether messages can be stored."""
PROBE_INTERVAL = 30
"""How long the result is used, in seconds, so that looking at pages doesn't keep the storage busy."""
ARCHIVES_KEY, DATABASE_KEY = "registry_activity:archive_storage", "registry_activity:database"
MIN_FREE = 64 << 20
"""The number of bytes that should be free on the disk of an SQLite database."""
MAX_VERIFYING = timedelta(days=1)
MAX_UNVERIFIED = timedelta(days=8)
"""A week, and a day for a verification that takes long."""


def check_space(now: datetime) -> Iterator[Finding]:
    """Find out whether the disk of the database is full.

    PostgreSQL's disk can be that of another machine, so a message is stored and taken back. SQLite would keep
    it in memory, so its disk is looked at instead.
    """
    if connection.vendor == "postgresql":
        if problem := cache.get_or_set(DATABASE_KEY, _storing_problem, PROBE_INTERVAL):
            text = gettext("The database can't store messages: %(error)s")
            yield Finding(State.ERROR, text % {"error": problem})
        return
    free = shutil.disk_usage(Path(connection.settings_dict["NAME"]).parent).free
    if free < MIN_FREE:
        state = State.ERROR if free < PROBE_SIZE else State.WARNING
        text = gettext("The disk of the database is nearly full: %(number)s MiB are free.")
        yield Finding(state, text % {"number": intcomma(free >> 20)})


def _storing_problem() -> str:
    """Return why the database can't store messages, or an empty string."""
    try:
        journal.probe(MESSAGE_SIZE)
    except OperationalError as error:
        return str(error)
    return ""


def check_archives(now: datetime) -> Iterator[Finding]:
    """Find out whether archives can be written, by writing a small file, at most twice a minute."""
    configuration = changes.saved()
    if not configuration.archive:
        return
    state = State.ERROR if configuration.enabled else State.WARNING
    page = "admin:registry_activity_archive_changelist"
    try:
        storage = archive_storage()
        problem = cache.get_or_set(ARCHIVES_KEY, lambda: _write_problem(storage), PROBE_INTERVAL)
    except InvalidStorageError as error:
        problem = str(error)
    if problem:
        yield Finding(state, gettext("Archives can't be written: %(error)s") % {"error": problem}, page)
    elif isinstance(storage, FileSystemStorage):
        free = shutil.disk_usage(storage.location).free
        if free < archive_files.MAX_SIZE:
            text = gettext("The disk of the archives is nearly full: %(number)s MiB are free.")
            yield Finding(State.WARNING, text % {"number": intcomma(free >> 20)}, page)


def _write_problem(storage: Storage) -> str:
    """Return why a small file can't be written and read again, or an empty string."""
    name = f"health-check-{uuid4().hex}"
    content = uuid4().bytes * (PROBE_SIZE // 16)
    try:
        try:
            storage.save(name, ContentFile(content))
            with storage.open(name) as file:
                return "" if file.read() == content else "a file was not stored correctly"
        finally:
            storage.delete(name)  # if the disk is full, a part of the file may exist
    except Exception as error:  # each storage has exceptions of its own
        return str(error) or type(error).__name__


def check_partitions(now: datetime) -> Iterator[Finding]:
    """Find months without a partition, whose events would go to the default partition."""
    if not partitions.is_partitioned():
        return
    existing = set(partitions.monthly_partitions())
    this_month = State.ERROR if programs.is_expected(heartbeats.BEAT) else State.WARNING
    for month, state in zip(partitions.months_from(now, 2), (this_month, State.WARNING), strict=True):
        missing = [group for group in partitions.GROUPS if partitions.Partition(group, month) not in existing]
        if missing:
            text = gettext("The event table has no partition for %(month)s (%(groups)s).")
            values = {
                "month": date_format(month, "YEAR_MONTH_FORMAT"),
                "groups": gettext(" and ").join(missing),
            }
            yield Finding(state, text % values, "admin:django_celery_beat_periodictask_changelist")


def check_verification(now: datetime) -> Iterator[Finding]:
    """Report what the last verification has found, and whether it is overdue."""
    last = Verification.objects.first()
    if last is None:
        return
    page = "admin:registry_activity_verification_change", (last.pk,)
    more = len(last.problems) - 1
    values = {
        "time": duration_in_words(now - (last.finished_at or last.started_at)),
        "problem": last.problems[0] if last.problems else "",
        "more": intcomma(more),
    }
    if last.problems:
        sentences = [gettext("The verification %(time)s ago found: %(problem)s")]
        if more:
            sentences.append(
                ngettext("There is %(more)s more problem.", "There are %(more)s more problems.", more)
            )
        yield Finding(State.ERROR, " ".join(sentences) % values, *page)
    elif last.finished_at:
        text = gettext("The last verification, %(time)s ago, found nothing missing.")
        yield Finding(State.OK, text % values, *page)
    elif last.started_at < now - MAX_VERIFYING:
        text = gettext("The verification that began %(time)s ago has not finished.")
        yield Finding(State.WARNING, text % values, *page)
    if last.started_at < now - MAX_UNVERIFIED:
        text = gettext("The last verification of the events was %(time)s ago.")
        yield Finding(State.WARNING, text % values, *page)
