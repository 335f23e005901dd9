"""The sort orders of event lists: by time, or by another column."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.db.models import Case, CharField, F, QuerySet, Value, When
from django.db.models.functions import Concat

from activity.catalogue import KINDS, UNKNOWN
from activity.models import ActorType, load_marks
from repositories.utils.keyset import Key, Keyset, Page

LONGEST_SORT = timedelta(days=90)
"""The longest time range that can be sorted by a column other than time. No index supports such a sort."""


class EventKeyset(Keyset):
    """A sort order of events."""

    def page(self, queryset: QuerySet, size: int, cursor: str | None = None) -> Page:
        page = super().page(queryset, size, cursor)
        load_marks(page.rows)
        return page


BY_TIME: Keyset = EventKeyset([Key("id", descending=True, type=UUID)])
OLDEST_FIRST: Keyset = EventKeyset([Key("id", type=UUID)])


def _kind_attribute(attribute: str) -> Case:
    """Return an expression for an attribute of an event's kind. All unknown kinds have the same label."""
    whens = [When(kind=kind.key, then=Value(str(getattr(kind, attribute)))) for kind in KINDS.values()]
    unknown = UNKNOWN if attribute == "label" else ""
    return Case(*whens, default=Value(unknown), output_field=CharField())


SORTABLE = {
    "label": _kind_attribute("label"),
    "repository": F("repository_name"),
    "tag": F("tag"),
    "digest": F("digest"),
    "type": _kind_attribute("type"),
    "actor": Case(
        When(actor_type=ActorType.USER, then=F("actor_name")),
        default=Concat("actor_type", Value(" "), "actor_name"),
        output_field=CharField(),
    ),
}
"""The sortable columns other than time, with the expressions to sort by."""


def sorted_by(events: QuerySet, column: str, descending: bool) -> tuple[QuerySet, Keyset]:
    """Return the events, annotated for sorting if necessary, and their sort order.

    Blank values are last. Events with the same value are sorted by time, newest first.
    """
    if column == "time":
        return events, BY_TIME if descending else OLDEST_FIRST
    events = events.annotate(
        sort_value=SORTABLE[column],
    ).annotate(sort_blank=Case(When(sort_value="", then=Value("1")), default=Value("0")))
    keys = [Key("sort_blank"), Key("sort_value", descending), Key("id", descending=True, type=UUID)]
    return events, EventKeyset(keys)
