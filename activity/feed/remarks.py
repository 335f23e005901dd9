"""Remarks on events: what a list should say about an event, beyond what happened."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.translation import gettext_lazy as _

from activity.models import Event, Manifest, Tag

PART_OF_PULL = _("Part of a pull")
CLOCK_AHEAD = _("The clock of the registry’s node was ahead")
MAY_BE_LAYER = _("Or a layer: the registry doesn’t say which")


def attach_remarks(events: Sequence[Event]) -> None:
    """Set `remarks` on each event: a list of sentences. Runs at most one query."""
    deletions = [event for event in events if event.kind == "delete_manifest"]
    known = _known_manifests(deletions)
    for event in events:
        is_unknown = event.kind == "delete_manifest" and (event.repository_id, event.digest) not in known
        remarks = {PART_OF_PULL: event.pull, CLOCK_AHEAD: event.is_ahead, MAY_BE_LAYER: is_unknown}
        event.remarks = [str(remark) for remark, applies in remarks.items() if applies]  # type: ignore[attr-defined]


def _known_manifests(events: Sequence[Event]) -> set[tuple[int | None, str]]:
    """Return the (repository id, digest) pairs of manifests that have been pushed."""
    if not events:
        return set()
    pushed = Manifest.objects.filter(
        repository__in={event.repository_id for event in events if event.repository_id},
        digest__in={event.digest for event in events},
        last_push__gt=Tag.NEVER,
    )
    return set(pushed.values_list("repository_id", "digest"))
