"""Holds, which exempt events from deletion by any rule.

The events of a repository or namespace are held until the hold is lifted. Imported events are held until
the import is released, and disputed events until the dispute is lifted. Events about deletion itself are
always held. A run respects both the holds in force when it starts and those set later.
"""

from __future__ import annotations

from django.db.models import Q, QuerySet, Value

from activity.catalogue import KINDS, PERMANENT_KINDS
from activity.models import Dispute, Hold, Import
from repositories.models import Repository

Holds = dict[str, list[int]]
"""The ids of the repositories, namespaces and imports that are held, and of the disputes in force."""

PERMANENT = Q(
    # The kind determines the category, but the category lets PostgreSQL skip partitions.
    category__in=sorted({KINDS[kind].category.value for kind in PERMANENT_KINDS}),
    kind__in=PERMANENT_KINDS,
)


def current_holds() -> Holds:
    """Return the ids of the repositories, namespaces and imports that are held now, and of the disputes."""
    imports = Import.objects.filter(released_at=None).order_by().values_list(Value("imports"), "pk")
    rows = imports.union(
        Hold.objects.exclude(repository=None).values_list(Value("repositories"), "repository"),
        Hold.objects.exclude(namespace=None).values_list(Value("namespaces"), "namespace"),
        Dispute.objects.filter(lifted_at=None).order_by().values_list(Value("disputes"), "pk"),
    )
    holds: Holds = {"repositories": [], "namespaces": [], "imports": [], "disputes": []}
    for key, pk in rows:
        holds[key].append(pk)
    return holds


def holds_on(repository: Repository) -> QuerySet[Hold]:
    """Return the holds on a repository or on its namespace."""
    return Hold.objects.filter(Q(repository=repository) | Q(namespace=repository.namespace_id))


def held_events(holds: Holds) -> Q:
    """Return the condition for events that are held, either by the given holds or by current ones.

    The condition contains sorted ids instead of subqueries, so that PostgreSQL can use an index to find held
    events or to see that there are none, and so that conditions for the same holds are equal.
    """
    now = current_holds()
    combined = {key: {*holds[key], *now[key]} for key in now}
    in_namespaces = Repository.objects.filter(namespace__in=combined["namespaces"]).order_by()
    repositories = combined["repositories"].union(in_namespaces.values_list("pk", flat=True))
    held = PERMANENT | Q(repository__in=sorted(repositories)) | Q(imported__in=sorted(combined["imports"]))
    for dispute in Dispute.objects.filter(pk__in=combined["disputes"]).order_by("pk"):
        held |= dispute.events
    return held
