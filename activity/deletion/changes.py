"""Changes to auto-deletion take effect at once if fewer events are deleted, and otherwise after a delay.

Signal handlers notice every change to a row of `configuration.MODELS`, no matter what code makes it. If the
change might delete more events, it waits: a `WaitingChange` stores the former state of the row. The
configuration in effect deletes an event only if the saved configuration deletes it, and so does each
configuration from before a waiting change. MSR admins can cancel a change as long as it waits.

Django sends no signals for `QuerySet.update`, so don't use it for these models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import reduce
from typing import Any

from django.apps import apps
from django.core import serializers
from django.core.exceptions import ObjectDoesNotExist
from django.db import transaction
from django.db.models import Model, QuerySet
from django.db.models.signals import post_delete, post_save, pre_save
from django.utils import timezone, translation

from activity import config
from activity.deletion.configuration import (
    MODELS,
    Configuration,
    Key,
    Rows,
    common,
    configuration_of,
    deletes_more,
    saved_rows,
)
from activity.models import AutoDeletion, WaitingChange
from activity.sources import auditing
from repositories.accounts import current_request
from repositories.utils.diff import diff
from repositories.utils.text import storable_text

MAX_SUBJECT_LENGTH = 500
MAX_VALUE_LENGTH = 500
"""The maximum length of a value in the changes that are shown and recorded. A reason can be of any length."""


def connect() -> None:
    """Connect the signal handlers. Called when the application is ready."""
    for model in MODELS:
        pre_save.connect(_load_former_row, sender=model)
        post_save.connect(_note_save, sender=model)
        post_delete.connect(_note_deletion, sender=model)


def in_effect(now: datetime | None = None, changes: Sequence[WaitingChange] | None = None) -> Configuration:
    """Return the configuration according to which events may be deleted at a moment (default: now).

    `changes` are those that wait at that moment, if the caller has loaded them already.
    """
    now = now or timezone.now()
    return _in_effect(saved_rows(), list(waiting(now)) if changes is None else changes, now)


def saved() -> Configuration:
    """Return the configuration as it was saved, which includes the changes that still wait."""
    return configuration_of(saved_rows())


def waiting(now: datetime | None = None) -> QuerySet[WaitingChange]:
    """Return the changes that have not taken effect at a moment (default: now), oldest first."""
    return WaitingChange.objects.filter(effective_at__gt=now or timezone.now())


@transaction.atomic
def cancel(change: WaitingChange) -> None:
    """Restore the state from before a change, and record that the current user has cancelled the change.

    If the object was changed again in the meantime, its restoration is a change that may have to wait, too.
    """
    model, pk = _key(change)
    former, current = _former_row(change), model._default_manager.filter(pk=pk).first()
    same_object = waiting().filter(model=change.model, object_id=change.object_id)
    with translation.override(None):  # as the changes are stored
        is_last_change = _changes(former, current) == change.changes and same_object.count() == 1
    with current_request.auditing_disabled():
        if former is not None:
            former.save()
        elif current is not None:
            current.delete()
    if is_last_change:
        same_object.delete()
    auditing.record(
        "cancel_deletion_change",
        subject=change.subject,
        changes=change.changes,
        changed_by=change.changed_by,
    )


# --- The configuration in effect ----------------------------------------------------------------


def _in_effect(rows: Rows, changes: Sequence[WaitingChange], now: datetime) -> Configuration:
    """Return what the saved configuration and all those from before the waiting changes have in common."""
    history = [configuration_of(rows)]
    for change in reversed(changes):
        rows = _with_row(rows, _key(change), _former_row(change))
        history.append(configuration_of(rows))
    return reduce(lambda new, old: common(old, new, now), history)


def _with_row(rows: Rows, key: Key, row: Model | None) -> Rows:
    """Return a copy of the rows in which one row is replaced, or removed if `row` is None."""
    others = {other: each for other, each in rows.items() if other != key}
    return others if row is None else {**others, key: row}


def _key(change: WaitingChange) -> Key:
    model = apps.get_model(change.model)
    return model, model._meta.pk.to_python(change.object_id)


def _former_row(change: WaitingChange) -> Model | None:
    """Return the former state of the changed row, or None if there was no row, or its scope is gone."""
    if not change.former:
        return None
    (deserialized,) = serializers.deserialize("json", change.former)
    try:
        str(deserialized.object)  # loads the repository or namespace
    except ObjectDoesNotExist:
        return None
    return deserialized.object


# --- Noticing changes ---------------------------------------------------------------------------


def _load_former_row(sender: Any, instance: Any, raw: bool, **_: Any) -> None:
    if not raw:
        instance._former_row = sender._base_manager.filter(pk=instance.pk).first()


def _note_save(sender: Any, instance: Any, raw: bool, **_: Any) -> None:
    former = instance.__dict__.pop("_former_row", None)
    if not raw:
        _note(former, instance)


def _note_deletion(sender: Any, instance: Any, origin: Any = None, **_: Any) -> None:
    # If the row is deleted along with its namespace or repository, no events are left that it could protect.
    if origin is instance or getattr(origin, "model", None) is sender:
        _note(instance, None)


@transaction.atomic
def _note(former: Any, current: Any) -> None:
    """Let a change wait if it might delete more events, and forget waiting changes that it supersedes."""
    row = current or former
    now, delay = timezone.now(), config.deletion_delay()
    rows = saved_rows()
    if configuration_of(_with_row(rows, (type(row), row.pk), former)) == configuration_of(rows):
        return
    list(AutoDeletion.objects.select_for_update())  # serializes concurrent changes
    WaitingChange.objects.filter(effective_at__lte=now).delete()
    if delay:
        with translation.override(None):  # what is stored is in English, whatever language the page is in
            subject = f"{_verb(former, current)} {row._meta.verbose_name}: {row}"
            changed_fields = _changes(former, current)
        WaitingChange.objects.create(
            model=row._meta.label_lower,
            object_id=row.pk,
            former="" if former is None else serializers.serialize("json", [former]),
            subject=storable_text(subject, MAX_SUBJECT_LENGTH),
            changes=changed_fields,
            changed_by=auditing.current_actor()[1],
            changed_at=now,
            effective_at=now + delay,
        )
    _discard_unneeded(now)


def _discard_unneeded(now: datetime) -> None:
    """Delete the waiting changes that hold nothing back."""
    rows = saved_rows()
    is_on = configuration_of(rows).enabled
    changes = list(waiting(now))
    for change in reversed(changes.copy()):
        earlier_rows = _with_row(rows, _key(change), _former_row(change))
        before, after = configuration_of(earlier_rows), configuration_of(rows)
        others = [other for other in changes if other != change]
        # Compare as if auto-deletion were on already, because it may be turned on before the change has
        # waited long enough.
        held_back, otherwise = (
            replace(_in_effect(saved_rows(), each, now), enabled=is_on) for each in (changes, others)
        )
        if deletes_more(before, after, now) or deletes_more(held_back, otherwise, now):
            rows = earlier_rows
        else:
            changes = others
            change.delete()


def _verb(former: Any, current: Any) -> str:
    if former is None:
        return "New"
    return "Changed" if current is not None else "Deleted"


def _changes(former: Any, current: Any) -> dict[str, Any]:
    """Return the changed fields, with values in a form that JSON can store."""

    def state(row: Any) -> dict[str, str]:
        if row is None:
            return {}
        fields = [field for field in row._meta.concrete_fields if field.editable and not field.primary_key]
        return {
            str(field.verbose_name): _shown(row, field)
            for field in fields
            if getattr(row, field.attname) not in (None, "")
        }

    return diff(state(former), state(current))


def _shown(row: Any, field: Any) -> str:
    display = getattr(row, f"get_{field.name}_display", None)
    return storable_text(str(display() if display else getattr(row, field.name)), MAX_VALUE_LENGTH)
