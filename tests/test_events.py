"""Events are append-only: they can't be changed or deleted through the model."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model

from activity.models import Event
from tests import factories

pytestmark = pytest.mark.django_db


def test_saved_event_cannot_be_changed_or_deleted() -> None:
    event = factories.record()

    for attempt in (
        event.save,
        event.delete,
        lambda: Event.objects.filter(pk=event.pk).update(tag="forged"),
        lambda: Event.objects.all().delete(),
    ):
        with pytest.raises(TypeError, match="append-only"):
            attempt()


def test_event_outlives_its_policy_and_actor() -> None:
    jane = factories.UserFactory(username="jane")
    web = factories.repository("acme/web")
    policy = factories.PolicyFactory(repository=web)
    factories.record("promote", web, tag="v1", actor_type="promotion", actor_name=policy.public_id)
    factories.record(repository=web)

    policy.delete()
    get_user_model().objects.filter(pk=jane.pk).delete()

    assert [str(event) for event in Event.objects.all()] == [
        "Create Manifest acme/web",
        "Promotion acme/web:v1",
    ]
    assert [event.actor_label for event in Event.objects.all()] == ["jane", f"PROMOTION {policy.public_id}"]
