"""Lists, searches and ids whose events were deleted say up to when events were deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.test import Client

from activity.identity import event_id
from activity.models import Archive, Event, Run
from activity.storage import tallies
from repositories.models import Repository
from tests import factories
from tests.deletion import JANUARY, MARCH, add_events, execute_run, turn_on

pytest_plugins = ["tests.deletion_fixtures"]
pytestmark = pytest.mark.django_db
NOTE = "Auto-deletion has deleted some or all events up to January 15, 2021"
ACTIVITY = "/repositories/acme/web/activity/"
EVENTS = "/admin/registry_activity/event/"


@pytest.fixture
def deleted(web: Repository, archive_folder: Path) -> Event:
    """An event of January that a run has deleted. One of March remains."""
    (event,) = add_events(1, JANUARY, repository=web, repository_name="acme/web")
    add_events(1, MARCH, repository=web, repository_name="acme/web")
    turn_on(archive=True, age=1)
    execute_run()
    return event


@pytest.fixture
def reader(log_in: Any, person: Any) -> Client:
    return log_in(person)


def text(client: Client, url: str, **query: str) -> str:
    return client.get(url, query).content.decode()


@pytest.mark.parametrize("folded", [False, True])
def test_end_of_a_list_says_up_to_when_events_were_deleted(
    reader: Client, deleted: Event, folded: bool
) -> None:
    if folded:
        tallies.fold()
    for query in (
        {"range": "all"},
        {"range": "all", "tag": "none"},
        {"range": "custom", "after": "2021-01-10T00:00"},
    ):
        html = text(reader, ACTIVITY, **query)
        assert NOTE in html
        assert "registry_activity/archive" not in html
        assert "registry_activity/run" not in html


def test_list_that_begins_later_says_nothing(reader: Client, deleted: Event) -> None:
    assert NOTE not in text(reader, ACTIVITY, range="custom", after="2021-02-01T00:00")
    assert NOTE not in text(reader, ACTIVITY, range="week")


def test_list_says_nothing_if_nothing_was_deleted(reader: Client, web: Repository) -> None:
    assert "were deleted" not in text(reader, ACTIVITY, range="all")


def test_auditors_get_links_to_runs_and_archives(auditor: Client, deleted: Event) -> None:
    for url in (ACTIVITY, EVENTS):
        html = text(auditor, url, range="all") if url == ACTIVITY else text(auditor, url, q="tag:none")
        assert NOTE in html
        assert 'href="/admin/registry_activity/archive/"' in html
        assert 'href="/admin/registry_activity/run/?preview__exact=0"' in html


def test_same_404_for_ids_that_were_deleted_are_hidden_or_never_existed(
    reader: Client, deleted: Event
) -> None:
    (hidden,) = add_events(1, JANUARY, repository=factories.repository("globex/secret"), actor_name="x")
    never = event_id(JANUARY, 9, None, "never", is_pull=False)

    def answer(id: UUID) -> tuple[int, str]:
        response = reader.get(f"/api/v0/events/{id}/")
        return response.status_code, response.content.decode()

    answers = {answer(id) for id in (deleted.pk, hidden.pk, never)}
    ((status, body),) = answers
    assert (status, NOTE in body, "archive" in body) == (404, True, False)
    later = event_id(MARCH, 9, None, "never", is_pull=False)
    assert NOTE not in answer(later)[1]


def test_auditors_learn_the_run_the_rule_and_the_archive_of_an_id(auditor: Client, deleted: Event) -> None:
    detail = auditor.get(f"/api/v0/events/{deleted.pk}/").json()["detail"]
    archive, run = Archive.objects.get(), Run.objects.get()
    assert f"It may be in the archive {archive} ({run}: Registry-wide setting)." in detail

    response = auditor.get(f"{EVENTS}{deleted.pk}/change/", follow=True)

    assert response.redirect_chain[0][0] == f"/admin/registry_activity/archive/?q={deleted.pk}"
    html = response.content.decode()
    assert NOTE in html
    assert archive.name in html
