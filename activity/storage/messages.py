"""Stores the messages of registries, and deletes them after a time; see `MessageBatch`."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction
from django.utils import timezone

from activity import config
from activity.models import Event, MessageBatch
from activity.models.messages import compress
from activity.storage import append_only
from activity.storage.rows import insert_rows

BATCH = 200
"""To read one message, all of a batch are decompressed, which takes 0.5 ms."""
MAX_DELETED = 200
"""The maximum number of batches to delete in a transaction."""


def store(events: Sequence[Event]) -> None:
    """Store the messages of new events, in the order of their positions, unless the site keeps none."""
    if not config.message_retention():
        return
    # `event.message` itself would look for a message in the database.
    events = [event for event in events if vars(event).get("message") is not None]
    batches = [events[start : start + BATCH] for start in range(0, len(events), BATCH)]
    insert_rows([_batch(batch) for batch in batches])


def delete_old() -> None:
    """Delete the messages that have been stored for longer than the `MESSAGE_RETENTION` setting says.

    They are deleted in short transactions, so that recording can go on.
    """
    old = MessageBatch.objects.filter(stored_at__lt=timezone.now() - config.message_retention())
    while pks := list(old.order_by("pk").values_list("pk", flat=True)[:MAX_DELETED]):
        with transaction.atomic(), append_only.deletion_allowed():
            MessageBatch.objects.filter(pk__in=pks).delete()


def _batch(events: Sequence[Event]) -> MessageBatch:
    messages = {event.position: event.message for event in events}
    first, last = events[0].position, events[-1].position
    content = compress([messages.get(position) for position in range(first, last + 1)])
    return MessageBatch(first=first, last=last, content=content)
