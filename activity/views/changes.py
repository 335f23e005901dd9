"""The changes that events record, field by field. Those of a policy read as on the policy's page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from django.utils.translation import gettext

from activity.gating import visible_details
from activity.models import Event
from repositories.access.resolving import Access
from repositories.models import Criterion, Policy, Repository
from repositories.policies.changes import FIELDS
from repositories.utils.text import visible_text
from repositories.views.policies import visible_name

SIDES = ("before", "after")


def attach_changes(events: Iterable[Event], access: Access) -> None:
    """Set `changes` on each event: a list of (label, before, after) tuples, one for each changed field."""
    recorded = {event: _recorded_changes(event, access) for event in events}
    ids = {
        id
        for event, changes in recorded.items()
        if event.policy_id
        for id in changes.get("target", {}).values()
    }
    targets = Repository.objects.filter(pk__in=ids).select_related("namespace") if ids else []
    names = {target.pk: visible_name(target, access) for target in targets}
    for event, changes in recorded.items():
        fields = [*FIELDS, "criteria"] if event.policy_id else changes
        event.changes = [  # type: ignore[attr-defined]
            (_label(event, field), *(_value(event, field, sides.get(side), names) for side in SIDES))
            for field in fields
            if (sides := changes.get(field))
        ]


def _recorded_changes(event: Event, access: Access) -> dict[str, dict[str, Any]]:
    """Return the changes that the viewer may see. What a producer calls `changes` can be anything."""
    details = visible_details(event, access)
    changes = details.get("changes") if isinstance(details, dict) else None
    sides = changes.items() if isinstance(changes, dict) else ()
    return {field: values for field, values in sides if isinstance(values, dict)}


def _label(event: Event, field: str) -> str:
    if not event.policy_id:
        return field
    if field == "criteria":
        return str(Criterion._meta.verbose_name_plural)
    return str(Policy._meta.get_field(field).verbose_name)  # type: ignore[union-attr]


def _value(event: Event, field: str, value: Any, names: Mapping[int, str]) -> str:
    """Return the text of a value, or a dash if there is none."""
    match field if event.policy_id else "":
        case "criteria":
            return gettext(", and ").join(value or [gettext("every tag")])
        case "enabled" if value is not None:
            return gettext("yes") if value else gettext("no")
        case "target" if value is not None:
            return names.get(value, "")
        case "interval" if value is not None:
            return str(Policy.Interval(value).label)
    return "—" if value is None else text_of(value)


def text_of(value: Any) -> str:
    """Return a value of an event's details as text."""
    return visible_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
