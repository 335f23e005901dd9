"""The tables of this application, one module for each subject."""

from activity.models.actors import (
    MANUAL_PROMOTION_NAME,
    MAX_ACTOR_LENGTH,
    PROGRAMS,
    THE_COMMAND_LINE,
    THE_SCHEDULE,
    ActorType,
    actor_in,
    label_of_actor,
)
from activity.models.counts import DroppedTallies, Tally, TallyChange
from activity.models.dead_letters import DeadLetter
from activity.models.deletion import (
    Archive,
    AutoDeletion,
    Conditions,
    DeletionRule,
    Hold,
    Import,
    Run,
    oldest_kept,
)
from activity.models.events import Event, EventQuerySet
from activity.models.registries import Registry
from activity.models.tags import DeletedManifest, Tag, TagPull

__all__ = [
    "MANUAL_PROMOTION_NAME",
    "MAX_ACTOR_LENGTH",
    "PROGRAMS",
    "THE_COMMAND_LINE",
    "THE_SCHEDULE",
    "ActorType",
    "Archive",
    "AutoDeletion",
    "Conditions",
    "DeadLetter",
    "DeletedManifest",
    "DeletionRule",
    "DroppedTallies",
    "Event",
    "EventQuerySet",
    "Hold",
    "Import",
    "Registry",
    "Run",
    "Tag",
    "TagPull",
    "Tally",
    "TallyChange",
    "actor_in",
    "label_of_actor",
    "oldest_kept",
]
