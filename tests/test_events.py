"""Events are appended, and nothing changes or removes them."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model

from activity.models import Event
from tests import factories

pytestmark = pytest.mark.django_db


def test_stored_event_is_not_written_to() -> None:
    event = factories.record()

    for attempt in (
        event.save,
        event.delete,
        lambda: Event.objects.filter(pk=event.pk).update(tag="forged"),
        lambda: Event.objects.all().delete(),
    ):
        with pytest.raises(TypeError, match="append-only"):
            attempt()


def test_event_outlives_what_it_speaks_of() -> None:
    jane = factories.UserFactory(username="jane")
    row = factories.repository("acme/web")
    policy = factories.PolicyFactory(repository=row)
    factories.record("promote", row, tag="v1", actor_type="promotion", actor_name=policy.public_id)
    factories.record(repository=row)

    policy.delete()
    get_user_model().objects.filter(pk=jane.pk).delete()

    assert [str(event) for event in Event.objects.all()] == [
        "Create Manifest acme/web",
        "Promotion acme/web:v1",
    ]
    assert [event.actor_label for event in Event.objects.all()] == ["jane", f"PROMOTION {policy.public_id}"]
