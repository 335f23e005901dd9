"""Records and deletes events that are identified by their tags, to read them in the order of commits."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from activity.models import Event
from activity.storage.events import delete_events, insert
from tests import factories


def tags(page: dict[str, Any]) -> list[str]:
    return [event["tag"].rpartition(":")[2] for event in page["results"]]


def record(*tags: str, **values: Any) -> list[Event]:
    return insert([factories.event_row(tag=tag, repository_name="acme/web", **values) for tag in tags])


def delete(**which: Any) -> None:
    with transaction.atomic():
        delete_events(Event.objects.filter(**which), "run 1")
