"""Records actions in this application itself, such as changes to permissions, accounts and settings.

`audit_receivers.py` records every change to an audited model, no matter what code makes it. Actions that
don't change an audited model, such as replaying dead letters, are recorded by calling `record` directly.
"""

from __future__ import annotations

import getpass
import os
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from celery import current_app, current_task
from django.utils import timezone

from activity import config
from activity.models import COMMAND_LINE_ACTOR, MAX_ACTOR_LENGTH, SCHEDULE_ACTOR, ActorType, JournalEntry
from activity.recording.drafts import Draft
from activity.recording.record import record_events
from activity.storage import journal
from repositories.accounts import current_request
from repositories.models import Policy, Repository
from repositories.utils.migrated import is_migrated
from repositories.utils.text import storable_text

MAX_TEXT_LENGTH = 500
"""The maximum length of a stored value. Longer values are truncated."""
MAX_NAMES = 50
"""The maximum number of names in an event. More names are recorded in several events."""
STARTED_BY = "started_by"
"""The header of a task's message that contains the name of the user who started the task."""

ACCOUNT_NOUNS = {"user", "password", "group", "group_member", "session", "session_failed"}
HOST_NOUNS = ACCOUNT_NOUNS | {"periodic_task", "schedule"}
"""The nouns of the event kinds that are recorded only if `config.audit_host_models` returns True."""


def record(kind: str, **values: Any) -> UUID | None:
    """Record an action, and return its event's id, or None if events of this kind aren't recorded.

    The values are those of `drafts_of`.
    """
    drafts = drafts_of(kind, **values)
    return record_draft(drafts[0]) if drafts else None


def drafts_of(
    kind: str,
    *,
    subject: str = "",
    repository: Repository | None = None,
    policy: Policy | None = None,
    username: str | None = None,
    user_id: Any = None,
    at: datetime | None = None,
    **details: Any,
) -> list[Draft]:
    """Return the draft of an action's event, or an empty list if events of this kind aren't recorded.

    The actor is the user named `username`, or the current actor if `username` is None. An empty `username`
    stands for an anonymous user. `at` is the time of the action (default: now), `subject` is the name of the
    changed object, and `user_id` is the primary key of the user whose account or access was changed.
    """
    if not is_recorded(kind):
        return []
    if subject:
        details = {"subject": storable_text(subject, MAX_TEXT_LENGTH), **details}
    if username is None:
        actor_type, actor_name = current_actor()
    else:
        actor_type, actor_name = (ActorType.USER if username else ActorType.ANONYMOUS), username
    return [
        Draft(
            kind=kind,
            repository=repository,
            repository_name=repository.full_name if repository else "",
            actor_type=actor_type,
            actor_name=storable_text(actor_name, MAX_ACTOR_LENGTH),
            occurred_at=at or timezone.now(),
            source_id=str(uuid4()),
            policy=policy,
            subject_user_id=user_id if user_id is None or isinstance(user_id, int) else str(user_id),
            details={**details, **current_request.client_details()},
        )
    ]


def record_draft(draft: Draft) -> UUID:
    """Record an action that a draft describes, and return its event's id.

    The event is committed with the action, but as an entry of the journal: a recorder turns it into a row of
    the event table. So an action never waits for other recording, and its transaction, however long, never
    keeps other events from being recorded.
    """
    if config.record_in_request():
        (id,) = record_events([draft])
        return id
    journal.append(JournalEntry.Source.APPLICATION, draft.as_json())
    return draft.event_id


def is_recorded(kind: str) -> bool:
    """Return whether events of a kind are recorded.

    Inside `current_request.auditing_disabled()`, and before the tables exist, nothing is recorded.
    """
    is_host_event = kind.partition("_")[2] in HOST_NOUNS
    is_wanted = current_request.is_audited() and (not is_host_event or config.audit_host_models())
    return is_wanted and is_migrated("registry_activity") and is_migrated("registry_repositories")


def current_actor() -> tuple[ActorType, str]:
    """Return the actor to record.

    The actor is the user who sent the current request or started the current task, an anonymous user, the
    schedule, or the command line with the name of the account in the operating system.
    """
    if user := current_request.user():
        return ActorType.USER, user.get_username()
    if current_request.exists():
        return ActorType.ANONYMOUS, ""
    if not current_task:
        return ActorType.SYSTEM, f"{COMMAND_LINE_ACTOR} ({_system_account()})"
    # A task that another task calls has no message of its own.
    message = (current_app.current_worker_task or current_task).request
    if username := (message.headers or {}).get(STARTED_BY):
        return ActorType.USER, username
    return ActorType.SYSTEM, SCHEDULE_ACTOR


def _system_account() -> str:
    """Return the name of the person's account in the operating system, or its number if it has no name."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def parts(names: list[str]) -> list[list[str]]:
    """Return the names in lists that are short enough for an event, so that none is left out."""
    return [names[start : start + MAX_NAMES] for start in range(0, len(names), MAX_NAMES)]
