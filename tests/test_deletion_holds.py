"""Holds and imports exempt events from deletion, even if a hold is set or lifted during a run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import pytest
from django.db.models import Q
from django.utils import timezone

from activity.deletion import archives, holds, imports
from activity.models import Archive, Hold, Import
from repositories.models import Repository
from tests import factories
from tests.deletion import (
    JANUARY,
    add_events,
    after_batches,
    after_first_archive,
    count_archived,
    each_once,
    execute_run,
    remaining_events,
    turn_on,
)

pytest_plugins = ["tests.deletion_fixtures"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("small_batches", "archive_folder")]


@pytest.mark.parametrize("archive", [False, True], ids=["deleting", "archiving"])
@pytest.mark.parametrize("scope", ["repository", "namespace"])
def test_hold_set_during_a_run_applies_from_the_next_batch(
    web: Repository, archive: bool, scope: str
) -> None:
    turn_on(age=1, archive=archive)
    events = add_events(6, repository=web)
    target = {"repository": web} if scope == "repository" else {"namespace": web.namespace}

    run = execute_run(after_batches(1, lambda: Hold.objects.create(reason="An inquiry", **target)))

    assert (run.state, run.deleted) == ("finished", 2)
    assert remaining_events() == set(events[2:])


def test_hold_lifted_during_a_run_still_applies_to_that_run(web: Repository) -> None:
    turn_on(age=1)
    held = add_events(3, repository=web)
    add_events(4)
    Hold.objects.create(repository=web, reason="An inquiry")

    execute_run(after_batches(1, lambda: Hold.objects.all().delete()))

    assert remaining_events() == set(held)


def test_hold_set_after_archiving_removes_its_events_from_the_archive(
    web: Repository, archive_folder: Path
) -> None:
    turn_on(age=1, archive=True)
    held, others = add_events(3, repository=web), add_events(4, JANUARY + timedelta(seconds=3))

    with after_first_archive(lambda: Hold.objects.create(repository=web, reason="An inquiry")):
        first = execute_run()
    assert remaining_events() == set(held)
    assert count_archived(archive_folder) == each_once(others)
    assert not Archive.objects.filter(deleted_at=None).exists()
    for archive in first.archives.all():
        assert archive.events == len(archives.event_ids(archive))

    Hold.objects.all().delete()
    execute_run()
    assert not remaining_events()
    assert count_archived(archive_folder) == each_once(held + others)


def test_holds_are_read_in_two_queries(
    web: Repository, django_assert_num_queries: Callable[[int], AbstractContextManager]
) -> None:
    api = factories.repository("acme/api")
    held, imported = factories.repository("globex/held"), Import.objects.create(archive_name="x")
    Hold.objects.create(namespace=web.namespace, reason="An inquiry")
    Hold.objects.create(repository=held, reason="An inquiry")

    with django_assert_num_queries(2):
        condition = holds.held_events({"repositories": [], "namespaces": [], "imports": [0], "disputes": []})

    repositories = sorted([web.pk, api.pk, held.pk])
    expected = Q(repository__in=repositories) | Q(imported__in=[0, imported.pk])
    assert condition == holds.PERMANENT | expected


def test_imported_events_are_exempt_until_the_import_is_released() -> None:
    turn_on(age=1, archive=True)
    add_events(6)
    for archive in execute_run().archives.all():
        imports.import_archive(archive.name)

    assert execute_run().deleted == 0
    assert len(remaining_events()) == 6

    Import.objects.filter(events=4).update(released_at=timezone.now())
    assert execute_run().deleted == 4
