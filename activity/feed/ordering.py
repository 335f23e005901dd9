"""The orders of an events list: by time, or by another column."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.db.models import Case, CharField, F, QuerySet, Value, When
from django.db.models.functions import Concat

from activity.catalogue import KINDS
from activity.models import ActorType
from repositories.utils.keyset import Key, Keyset

LONGEST_SORT = timedelta(days=90)
"""The longest range that is sorted by another column than time, since no index serves it."""

BY_TIME = Keyset([Key("id", descending=True, type=UUID)])
OLDEST_FIRST = Keyset([Key("id", type=UUID)])


def _of_kind(attribute: str) -> Case:
    """Return what the catalogue says of each kind, to sort by; an unknown kind has its key."""
    whens = [When(kind=kind.key, then=Value(str(getattr(kind, attribute)))) for kind in KINDS.values()]
    return Case(*whens, default=F("kind") if attribute == "label" else Value(""), output_field=CharField())


SORTABLE = {
    "label": _of_kind("label"),
    "repository": F("repository_name"),
    "tag": F("tag"),
    "digest": F("digest"),
    "type": _of_kind("type"),
    "actor": Case(
        When(actor_type=ActorType.USER, then=F("actor_name")),
        default=Concat("actor_type", Value(" "), "actor_name"),
        output_field=CharField(),
    ),
}
"""The columns that can be sorted by besides time, and what they sort by."""


def sorted_by(events: QuerySet, column: str, descending: bool) -> tuple[QuerySet, Keyset]:
    """Return the events with what they are to be sorted by, and the order: blanks last, then by time."""
    events = events.annotate(
        sort_value=SORTABLE[column],
    ).annotate(sort_blank=Case(When(sort_value="", then=Value("1")), default=Value("0")))
    keys = [Key("sort_blank"), Key("sort_value", descending), Key("id", descending=True, type=UUID)]
    return events, Keyset(keys)
