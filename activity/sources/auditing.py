"""Records actions in this application itself, such as changes to permissions, accounts and settings.

All audited models are listed in `AUDITED`. Signal handlers record every change to an audited model, no matter
what code makes it. Actions that don't change an audited model, such as replaying dead letters, are recorded
by calling `record` directly. The changed fields are stored in `details.changes`, in the format of `Changes`.

An event is committed in the same transaction as the change that it describes. Django itself deletes rows and
changes many-to-many relations in transactions, but `save` commits before it sends `post_save`. Therefore,
save audited models in `transaction.atomic`, as the site, the commands and the admin do. Other code, such as
Celery beat or Django's `createsuperuser`, can save outside a transaction. If recording the event then fails,
the change is kept without an event.

Django sends no signals for `QuerySet.update` and `bulk_create`, so don't use them for audited models.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from celery import current_app, current_task
from celery.signals import before_task_publish
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db import models
from django.db.models import QuerySet
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete, pre_save
from django.utils import timezone, translation
from django_celery_beat import models as beat
from solo.models import SingletonModel

from activity import config
from activity.catalogue import KINDS, OWN_CATEGORIES
from activity.models import (
    COMMAND_LINE_ACTOR,
    MAX_ACTOR_LENGTH,
    SCHEDULE_ACTOR,
    ActorType,
    AutoDeletion,
    DeletionRule,
    Dispute,
    Hold,
    JournalEntry,
    Registry,
    Run,
)
from activity.recording.drafts import Draft
from activity.recording.record import record_events
from activity.storage import journal
from repositories import signals
from repositories.access import grants
from repositories.access.resolving import GRANTS
from repositories.accounts import current_request
from repositories.accounts.service_accounts import is_service_account
from repositories.dependents import dependents_of
from repositories.models import (
    AccessToken,
    Membership,
    Namespace,
    Organization,
    Policy,
    Profile,
    RegistrySettings,
    Repository,
    Team,
)
from repositories.utils.diff import Changes, diff
from repositories.utils.migrated import is_migrated
from repositories.utils.text import storable_text

User: Any = get_user_model()

MAX_TEXT_LENGTH = 500
"""The maximum length of a stored value. Longer values are truncated."""
MAX_NAMES = 50
"""The maximum number of names in an event. More names are recorded in several events."""
HIDDEN = "hidden"
STARTED_BY = "started_by"
"""The header of a task's message that contains the name of the user who started the task."""

ACCOUNT_NOUNS = {"user", "password", "group", "group_member", "session", "session_failed"}
HOST_NOUNS = ACCOUNT_NOUNS | {"periodic_task", "schedule"}
"""The nouns of the event kinds that are recorded only if `config.audit_host_models` returns True."""


@dataclass(frozen=True)
class Audited:
    """A model whose changes are recorded as events."""

    model: type[models.Model]
    noun: str
    """The noun in the model's event kinds: `team` for `create_team`, `update_team` and `delete_team`."""
    only: Collection[str] = ()
    """The audited fields. If this is empty, all fields except those in `ignored` are audited."""
    ignored: Collection[str] = ()
    """Fields that are not audited. They don't appear in any event."""
    hidden: Collection[str] = ()
    """Fields whose changes are recorded without their values."""
    repository: Callable[[Any], Repository | None] = lambda instance: None
    """Returns the repository that an instance belongs to, if any."""
    subject: Callable[[Any], str] = str
    """Returns the name of an instance, for the event's `subject`."""
    user_id: Callable[[Any], Any] = lambda instance: None
    """Returns the primary key of the user whose account or access an instance is about, if any."""
    kind: Callable[[Any, str, Changes], str] | None = None
    """Returns the event kind for an instance, a verb and changes. The default is `<verb>_<noun>`."""

    @property
    def fields(self) -> list[models.Field]:
        fields = [field for field in self.model._meta.concrete_fields if not field.primary_key]
        names = self.only or {field.name for field in fields}.difference(self.ignored)
        return [field for field in fields if field.name in names]


def _granted_repository(grant: Any) -> Repository | None:
    target = grant.content_object
    return target if isinstance(target, Repository) else None


def _user_event_kind(user: Any, verb: str, changes: Changes) -> str:
    return "update_password" if verb == "update" and "password" in changes else f"{verb}_user"


def _repository_event_kind(repository: Repository, verb: str, changes: Changes) -> str:
    if verb == "update" and "after" not in changes.get("deleted_at", {}):
        return f"update_{'visibility' if 'visibility' in changes else 'description'}"
    return "create_repository" if verb == "create" else "delete_repository"


def _dispute_event_kind(dispute: Dispute, verb: str, changes: Changes) -> str:
    return "create_dispute" if verb == "create" else "lift_dispute"


def _run_event_kind(run: Run, verb: str, changes: Changes) -> str:
    return f"{verb}_deletion_{'preview' if run.preview else 'run'}"


SCHEDULE_MODELS = (beat.CrontabSchedule, beat.IntervalSchedule, beat.SolarSchedule, beat.ClockedSchedule)

AUDITED: dict[type[models.Model], Audited] = {
    audited.model: audited
    for audited in [
        *(
            Audited(
                model,
                "grant",
                repository=_granted_repository,
                subject=grants.describe,
                user_id=lambda grant: getattr(grant, "user_id", None),  # the grants of teams have none
            )
            for _, model, _ in GRANTS
        ),
        Audited(Team, "team", ignored={"group"}),
        Audited(Organization, "organization"),
        Audited(Membership, "organization_member", user_id=lambda membership: membership.user_id),
        Audited(Namespace, "namespace", only={"user", "organization"}),
        Audited(
            Repository,
            "repository",
            only={"visibility", "description", "deleted_at"},
            repository=lambda row: row,
            kind=_repository_event_kind,
        ),
        Audited(Hold, "hold", repository=lambda hold: hold.repository),
        Audited(
            User,
            "user",
            ignored={"last_login", "date_joined"},
            hidden={"password"},
            user_id=lambda user: user.pk,
            kind=_user_event_kind,
        ),
        Audited(
            AccessToken,
            "token",
            ignored={"token_key", "created", "name", "last_used_at", "last_used_from"},
            subject=lambda token: f"{token.digits}… ({token.user})",
            user_id=lambda token: token.user_id,
        ),
        Audited(
            Profile,
            "profile",
            ignored={"user", "time_zone_guessed"},
            subject=lambda profile: str(profile.user),
            user_id=lambda profile: profile.user_id,
            kind=lambda *_: "update_profile",  # a profile is created when its user first changes it
        ),
        Audited(Group, "group"),
        Audited(RegistrySettings, "registry_settings"),
        Audited(Registry, "registry", only={"quiet_after"}),
        Audited(AutoDeletion, "auto_deletion"),
        Audited(DeletionRule, "deletion_rule"),
        Audited(Dispute, "dispute", ignored={"disputed_by", "disputed_at"}, kind=_dispute_event_kind),
        Audited(Run, "deletion_run", only={"started_by", "cutoff"}, kind=_run_event_kind),
        Audited(
            beat.PeriodicTask,
            "periodic_task",
            ignored={"last_run_at", "total_run_count", "date_changed"},  # written by Celery beat
        ),
        *(Audited(model, "schedule") for model in SCHEDULE_MODELS),
    ]
}

RELATIONS: dict[Any, Any] = {
    relation.through: relation.field for relation in (User.groups, User.user_permissions, Group.permissions)
}
"""The audited many-to-many relations: the fields by the tables that store the relations."""


def connect() -> None:
    """Connect the signal handlers. Called when the application is ready."""
    for model in AUDITED:
        pre_save.connect(_load_previous_row, sender=model)
        post_save.connect(_record_save, sender=model)
        pre_delete.connect(_record_dependents, sender=model)
        post_delete.connect(_record_deletion, sender=model)
    for through in RELATIONS:
        m2m_changed.connect(_record_m2m_change, sender=through)
    before_task_publish.connect(_send_name_with_task)
    user_logged_in.connect(_record_login)
    user_logged_out.connect(_record_logout)
    signals.sessions_ended.connect(_record_ended_sessions)
    signals.user_unlocked.connect(_record_unlocking)
    signals.address_trusted.connect(_record_trusted_address)
    signals.policy_changed.connect(_record_policy_change)


def record(kind: str, **values: Any) -> UUID | None:
    """Record an action, and return its event's id, or None if events of this kind aren't recorded.

    The values are those of `_drafts`.
    """
    drafts = _drafts(kind, **values)
    return record_draft(drafts[0]) if drafts else None


def _drafts(
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


def _send_name_with_task(headers: dict[str, Any], **_: Any) -> None:
    """Send the name of the current user with a task, so that the task's events are recorded under it.

    A task that nobody started has no name, even if someone has entered one as a header in Celery beat's
    admin. Receiver for the `before_task_publish` signal.
    """
    actor_type, name = current_actor()
    headers[STARTED_BY] = name if actor_type == ActorType.USER else None


# --- Created, updated and deleted rows ----------------------------------------------------------


def _load_previous_row(
    sender: Any, instance: Any, raw: bool, update_fields: Iterable[str] | None, **_: Any
) -> None:
    """Attach the stored row to the instance before a save that can change audited fields."""
    audited = {field.name for field in AUDITED[sender].fields}
    can_change = not raw and not instance._state.adding and not audited.isdisjoint(update_fields or audited)
    instance._previous_row = None
    if can_change and current_request.is_audited():
        instance._previous_row = sender._base_manager.filter(pk=instance.pk).first()


def _record_save(
    sender: Any, instance: Any, created: bool, raw: bool, update_fields: Iterable[str] | None, **_: Any
) -> None:
    before = instance.__dict__.pop("_previous_row", None)
    if raw:
        instance._is_raw = True
    else:
        instance.__dict__.pop("_is_raw", None)
    if raw or _is_password_rehash(instance, update_fields):
        return
    verb = "create" if created else "update"
    if created and isinstance(instance, SingletonModel):
        before, verb = sender(), "update"  # the first read creates the row, so compare it with the defaults
    if verb == "create" or before:
        _record_change(AUDITED[sender], verb, before, instance, update_fields)


def _record_deletion(sender: Any, instance: Any, origin: Any = None, **_: Any) -> None:
    """Record a deletion. `_record_dependents` has recorded the dependent rows."""
    if _is_requested(instance, origin):
        _record_change(AUDITED[sender], "delete", instance, None)


def _record_dependents(instance: Any, origin: Any = None, **_: Any) -> None:
    """Record what else is deleted or changed with an object that is about to be deleted.

    Django sends signals for most of these rows, too, but loading the names of each would take many queries.
    """
    if not _is_requested(instance, origin) or not current_request.is_audited():
        return
    found = dependents_of(instance)
    drafts = [draft for row in found.deleted for draft in _change(AUDITED[type(row)], "delete", row, None)]
    for namespace in found.unclaimed:
        unclaimed = Namespace(pk=namespace.pk, name=namespace.name)
        drafts += _change(AUDITED[Namespace], "update", namespace, unclaimed)
    for group, users in found.members:
        drafts += _members(group, users, added=False)
    for draft in drafts:
        record_draft(draft)


def _is_requested(instance: Any, origin: Any) -> bool:
    """Return whether a row is deleted for its own sake, and not along with another object."""
    return origin is instance or (isinstance(origin, QuerySet) and origin.model is type(instance))


def _record_change(
    audited: Audited, verb: str, before: Any, after: Any, written: Iterable[str] | None = None
) -> None:
    for draft in _change(audited, verb, before, after, written):
        record_draft(draft)


def _change(
    audited: Audited, verb: str, before: Any, after: Any, written: Iterable[str] | None = None
) -> list[Draft]:
    """Return the draft of the event that records a change, or an empty list if nothing is recorded."""
    changes = _changes(audited, before, after, written)
    instance = after or before
    kind = audited.kind(instance, verb, changes) if audited.kind else f"{verb}_{audited.noun}"
    if not changes or kind not in KINDS:
        return []
    # Events in other categories can be visible to users who aren't allowed to see the changed fields.
    details: dict[str, Any] = {"changes": changes} if KINDS[kind].category in OWN_CATEGORIES else {}
    # An event later than `deleted_at` would not belong to the deleted repository.
    at = instance.deleted_at if kind == "delete_repository" else None
    with translation.override(None):  # what is stored is in English, whatever language the page is in
        subject = audited.subject(instance)
    repository, user_id = audited.repository(instance), audited.user_id(instance)
    return _drafts(kind, subject=subject, repository=repository, user_id=user_id, at=at, **details)


def _changes(audited: Audited, before: Any, after: Any, written: Iterable[str] | None) -> Changes:
    """Return the differences between two states of a row, either of which can be None."""
    fields = [field for field in audited.fields if written is None or field.name in written]

    def state(row: Any) -> dict[str, Any]:
        return {field.name: getattr(row, field.attname) for field in fields} if row else {}

    rows = {"before": before, "after": after}
    return {
        name: {side: HIDDEN if name in audited.hidden else _json_value(rows[side], name) for side in sides}
        for name, sides in diff(state(before), state(after)).items()
    }


def _json_value(row: Any, field: str) -> Any:
    """Return the value of a field in a form that JSON can store, with names in place of references."""
    value = getattr(row, field)
    if isinstance(value, bool | int | float):
        return value
    text = value.codename if isinstance(value, Permission) else str(value)
    return storable_text(text, MAX_TEXT_LENGTH)


def _is_password_rehash(instance: Any, update_fields: Iterable[str] | None) -> bool:
    """Return whether a login only rehashed an unchanged password with Django's current algorithm."""
    is_password = isinstance(instance, User) and set(update_fields or ()) == {"password"}
    return is_password and instance._password is None and instance.has_usable_password()


# --- Members and permissions --------------------------------------------------------------------


def _record_m2m_change(
    sender: Any, instance: Any, action: str, reverse: bool, model: Any, pk_set: set[Any] | None, **_: Any
) -> None:
    """Record users added to or removed from groups, and permissions granted or revoked."""
    if action not in ("post_add", "post_remove", "pre_clear") or not current_request.is_audited():
        return
    if getattr(instance, "_is_raw", False):  # from a fixture; m2m_changed has no `raw` argument
        return
    field = RELATIONS[sender]
    lookup = {field.name if reverse else field.related_query_name(): instance}  # all related objects
    related = list(model._base_manager.filter(**lookup if pk_set is None else {"pk__in": pk_set}))
    holders, granted = (related, [instance]) if reverse else ([instance], related)
    if field is User.groups.field:
        # Record one event for each group, whichever side was changed.
        for group in granted:
            for draft in _members(group, holders, added=action == "post_add"):
                record_draft(draft)
    elif granted:
        for holder in holders:
            _record_permissions(holder, granted, added=action == "post_add")


def _members(group: Group, users: list[Any], added: bool) -> list[Draft]:
    """Return the drafts of the events about users who were added to a group or removed from it."""
    team: Team | None = getattr(group, "team", None)
    names = sorted(user.get_username() for user in users)
    kind = f"{'create' if added else 'delete'}_{'team' if team else 'group'}_member"
    user_id = users[0].pk if len(users) == 1 else None
    return [
        draft
        for part in parts(names)
        for draft in _drafts(kind, subject=str(team or group), user_id=user_id, members=part, count=len(part))
    ]


def _record_permissions(holder: Any, permissions: list[Permission], added: bool) -> None:
    """Record granted or revoked permissions as an update of the user or group."""
    names = sorted(f"{permission.content_type.app_label}.{permission.codename}" for permission in permissions)
    kind = "update_user" if isinstance(holder, User) else "update_group"
    user_id = holder.pk if isinstance(holder, User) else None
    for part in parts(names):
        changes = {"permissions": {"after" if added else "before": part}}
        record(kind, subject=str(holder), user_id=user_id, changes=changes, count=len(part))


def parts(names: list[str]) -> list[list[str]]:
    """Return the names in lists that are short enough for an event, so that none is left out."""
    return [names[start : start + MAX_NAMES] for start in range(0, len(names), MAX_NAMES)]


# --- Sessions -----------------------------------------------------------------------------------


def _record_login(user: Any, **_: Any) -> None:
    if is_service_account(user):
        return  # the login is refused
    record("create_session", username=user.get_username())


def _record_logout(user: Any, **_: Any) -> None:
    if user is not None:
        record("delete_session", username=user.get_username())


def _record_ended_sessions(user: Any, number: int, **_: Any) -> None:
    record("delete_session", subject=user.get_username(), user_id=user.pk, count=number)


def _record_unlocking(user: Any, **_: Any) -> None:
    changes = {"locked_out": {"before": True, "after": False}}
    record("update_user", subject=user.get_username(), user_id=user.pk, changes=changes)


def _record_trusted_address(user: Any, address: str, **_: Any) -> None:
    changes = {"trusted_address": {"before": None, "after": address}}
    record("update_user", subject=user.get_username(), user_id=user.pk, changes=changes)


# --- Policies -----------------------------------------------------------------------------------


def _record_policy_change(policy: Policy, verb: str, changes: Changes, **_: Any) -> None:
    kind, policy_id = f"{verb}_{policy.kind}_policy", policy.public_id
    record(kind, repository=policy.repository, policy=policy, policy_id=policy_id, changes=changes)
