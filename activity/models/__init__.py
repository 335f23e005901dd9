"""The models of this app, grouped by subject."""

from activity.models.actors import (
    COMMAND_LINE_ACTOR,
    MANUAL_PROMOTION_NAME,
    MAX_ACTOR_LENGTH,
    SCHEDULE_ACTOR,
    SYSTEM_ACTORS,
    ActorType,
    actor_name_from_label,
    label_of_actor,
)
from activity.models.archives import Archive, Import
from activity.models.counts import DroppedTallies, LedgerEntry, Tally, TallyChange
from activity.models.dead_letters import DeadLetter
from activity.models.deletion import (
    FAILED_LOGINS,
    MIN_AGES,
    RULE_CATEGORIES,
    AutoDeletion,
    Conditions,
    DeletionRule,
    Hold,
    WaitingChange,
    subtract_age,
)
from activity.models.disputes import Dispute
from activity.models.events import (
    ACTORS,
    FOREIGN_ARCHIVE,
    MAX_CLOCK_LEAD,
    Event,
    EventQuerySet,
    effective_time,
    load_marks,
)
from activity.models.failed_logins import FailedLogins
from activity.models.heartbeats import Heartbeat
from activity.models.journal import JournalEntry
from activity.models.messages import MessageBatch
from activity.models.newest import NewestEvents
from activity.models.positions import NewestPosition, Removal
from activity.models.registries import Registry, RegistryNode
from activity.models.requests import ManifestRequest
from activity.models.runs import Run, Verification
from activity.models.tags import Manifest, Tag, TagPull
from activity.models.texts import Text
