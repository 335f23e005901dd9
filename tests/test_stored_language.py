"""What is stored, exported and sent to programs is in English, whatever language the pages are in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from gettext import NullTranslations
from typing import Any

import pytest
from django.core import serializers
from django.test import Client
from django.utils import translation
from django.utils.translation import gettext, trans_real

from activity.models import AutoDeletion, DeletionRule, Event, Run, WaitingChange
from repositories.access.groups import create_groups
from repositories.models import Membership, Organization, Policy, Repository
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.audited]

MARK = "\N{HEAVY LEFT-POINTING ANGLE BRACKET ORNAMENT}"


class MarkingTranslations(NullTranslations):
    """A language in which each text is the English one with a mark before it."""

    def gettext(self, message: str) -> str:
        return f"{MARK}{message}" if message else ""

    def ngettext(self, singular: str, plural: str, number: int) -> str:
        return f"{MARK}{singular if number == 1 else plural}"

    def to_language(self) -> str:
        return "eo"


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of an MSR admin, who reads all pages in the language with marks."""
    repository = factories.repository("acme/web")
    client, user = Client(), factories.msr_admin(username="admin")
    factories.add_member(repository.namespace.organization or Organization.objects.create(name="o"), user)
    monkeypatch.setitem(trans_real._translations, "eo", MarkingTranslations())  # type: ignore[attr-defined]
    client.force_login(user)
    with translation.override("eo"):
        assert gettext("Repositories").startswith(MARK)
        yield client


def stored() -> str:
    rows: list[Any] = [*Event.objects.all(), *WaitingChange.objects.all(), *Run.objects.all()]
    return serializers.serialize("json", rows, ensure_ascii=False) + json.dumps(
        [event.details for event in Event.objects.all()], ensure_ascii=False
    )


def test_events_about_actions_on_pages_are_in_english(admin: Client) -> None:
    jane = factories.UserFactory(username="jane")
    grant = {"holder": "jane", "codename": "level_read", "until": "2030-01-01", "grant": ""}

    page = admin.post("/repositories/acme/web/permissions/", grant, follow=True)

    assert MARK in page.content.decode()
    membership = Membership.objects.create(organization=Organization.objects.create(name="x"), user=jane)
    membership.delete()
    subjects = [event.subject for event in Event.objects.all()]
    assert "jane (Member of x)" in subjects
    assert any(subject.startswith("read on acme/web to jane until 20") for subject in subjects)
    assert MARK not in stored()


def test_changes_of_policies_are_in_english(admin: Client) -> None:
    criterion = {"operator": "not_pulled_for", "value": "90"}
    rows = {f"criteria-0-{name}": value for name, value in criterion.items()}
    form = {"criteria-TOTAL_FORMS": "1", "criteria-INITIAL_FORMS": "0", **rows, "enabled": "on"}

    admin.post("/repositories/acme/web/new-pruning-policy/", form)

    (event,) = Event.objects.filter(kind="create_pruning_policy")
    assert event.details["changes"]["criteria"] == {"after": ["not pulled for 90 days"]}
    assert MARK in str(Policy.objects.get())
    assert MARK not in stored()


def test_changes_of_auto_deletion_and_its_runs_are_in_english(admin: Client) -> None:
    AutoDeletion.objects.update_or_create(pk=1, defaults={"enabled": True, "age": 1})
    DeletionRule.objects.create(category="push", age=1)

    admin.post("/admin/registry_activity/autodeletion/start/", {"preview": ""})

    (run,) = Run.objects.all()
    assert MARK in str(run)
    assert MARK not in stored()


def test_change_of_auto_deletion_is_cancelled_in_any_language(admin: Client, settings: Any) -> None:
    url = "/admin/registry_activity/autodeletion/"
    form = {"enabled": "on", "age": 6, "age_unit": "months", "max_events": 6}
    admin.post(url, form)
    settings.REGISTRY_ACTIVITY = {"DELETION_DELAY": timedelta(days=1)}
    admin.post(url, {**form, "age": 5, "max_events": 7})  # deletes more by age, and less by number

    admin.post(f"{url}changes/{WaitingChange.objects.get().pk}/cancel/")

    assert not WaitingChange.objects.exists()
    assert AutoDeletion.get_solo().age == 6


def test_groups_and_permissions_have_english_names(admin: Client) -> None:
    create_groups()

    names = Repository._meta.permissions
    assert MARK not in json.dumps([str(name) for name in names], ensure_ascii=False)
    assert MARK in admin.get("/repositories/acme/web/permissions/").content.decode()


@pytest.mark.parametrize(
    "path", ["events/", "events/?search=label:create", "events/kinds/", "events/export/?export_format=csv"]
)
def test_data_of_the_api_are_in_english(admin: Client, path: str) -> None:
    factories.record("create_tag", tag="v1")

    answer: Any = admin.get(f"/api/v0/{path}")

    body = b"".join(answer) if answer.streaming else answer.content
    assert answer.status_code == 200
    assert b"Create Tag" in body
    assert MARK not in body.decode()


def test_errors_of_the_api_are_translated(admin: Client) -> None:
    answer = admin.get("/api/v0/events/", {"page_size": "0"})

    assert MARK in answer.json()["detail"]


def test_reports_for_programs_are_in_english(admin: Client) -> None:
    assert MARK not in json.dumps(admin.get("/healthz").json(), ensure_ascii=False)
    assert MARK in admin.get("/admin/registry_activity/event/overview/").content.decode()
