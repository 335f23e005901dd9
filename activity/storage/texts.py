"""Stores the texts that events have in common; see `Text`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from activity.models import Event, Text
from activity.models.details import TEXTS
from activity.storage.rows import insert_rows

BATCH = 500


def store(events: Sequence[Event]) -> None:
    """Let events refer to stored texts, and store the missing ones.

    Call this in the transaction that inserts the events, after `positions.assign`. Its lock prevents
    deadlocks with transactions that store the same texts in another order.
    """
    values = {text.value for event in events for text in _texts(event)}
    found = _find(values)
    if missing := sorted(values - found.keys()):
        insert_rows([Text(value=value) for value in missing], "ON CONFLICT DO NOTHING")
        found |= _find(missing)
    for event in events:
        for name in TEXTS:
            if text := getattr(event, name):
                event.refer_to(name, found[text.value])


def _texts(event: Event) -> Iterable[Text]:
    return (text for name in TEXTS if (text := getattr(event, name)))


def _find(values: Iterable[str]) -> dict[str, Text]:
    wanted = sorted(values)
    found: dict[str, Text] = {}
    for start in range(0, len(wanted), BATCH):
        rows = Text.objects.filter(value__in=wanted[start : start + BATCH])
        found |= {text.value: text for text in rows}
    return found
