"""Records what people do to this system itself: who may do what, accounts, settings.

Each audited model stands once in `AUDITED`. Django's signals tell of its changes, whatever door they
come through; what has no model, such as an export, is told to `record` by whoever does it. An event is
committed together with the change that it tells of.

Django sends no signals for `QuerySet.update` and `bulk_create`: use neither for audited models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from celery import current_task
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db import models, transaction
from django.db.models import QuerySet
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_save
from django.utils import timezone
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)
from knox.models import AuthToken
from solo.models import SingletonModel

from activity.catalogue import KINDS
from activity.deletion.models import AutoDeletion, DeletionRule, Hold, Run
from activity.drafts import Draft
from activity.models import MAX_ACTOR_LENGTH, ActorType
from activity.recording import record_events
from repositories import acting, levels
from repositories.models import (
    Membership,
    Namespace,
    NamespaceGroupPermission,
    NamespaceUserPermission,
    Organization,
    RegistrySettings,
    Repository,
    RepositoryGroupPermission,
    RepositoryUserPermission,
    Team,
)

User = get_user_model()

THE_SCHEDULE = "the schedule"
THE_COMMAND_LINE = "the command line"
PROGRAMS = (THE_SCHEDULE, THE_COMMAND_LINE)
"""Who acts where nobody is logged in. No user can have such a name: it has a space."""

MAX_TEXT = 500
"""Characters of a value that are kept."""
MAX_NAMES = 50
"""Names in a list that are kept: the rest are counted."""

Changes = Mapping[str, list[Any]]
"""For each changed field what it was and what it is, by names instead of ids."""


# --- Recording ----------------------------------------------------------------------------------


def record(
    kind: str,
    *,
    subject: str = "",
    repository: Repository | None = None,
    actor: str | None = None,
    **details: Any,
) -> None:
    """Record that whoever acts now did something to the system.

    `subject` names what it was done to. `actor` is a name that was claimed, where nobody is logged in yet.
    """
    if acting.is_nobody():
        return
    actor_type, actor_name = (ActorType.USER, storable(actor)) if actor is not None else who()
    record_events(
        [
            Draft(
                kind=kind,
                repository=repository,
                repository_name=repository.full_name if repository else "",
                actor_type=actor_type,
                actor_name=actor_name[:MAX_ACTOR_LENGTH],
                occurred_at=timezone.now(),
                source_id=str(uuid4()),
                details={**({"subject": storable(subject)} if subject else {}), **details, **acting.client()},
            )
        ]
    )


def who() -> tuple[ActorType, str]:
    """Return who acts now: the person whose request it is, or a program."""
    if user := acting.actor():
        return ActorType.USER, user.get_username()
    if acting.is_serving():
        return ActorType.ANONYMOUS, ""
    return ActorType.SYSTEM, THE_SCHEDULE if current_task else THE_COMMAND_LINE


def storable(text: str) -> str:
    """Return a text as every database takes it, and not longer than needed."""
    return text[:MAX_TEXT].replace("\0", "�").encode(errors="replace").decode()


# --- What is audited ----------------------------------------------------------------------------


def _nowhere(instance: Any) -> Repository | None:
    return None


@dataclass(frozen=True)
class Audited:
    """A model whose changes are events."""

    model: type[models.Model]
    noun: str
    """What its kinds of events are of: `create_team`, `update_team`, `delete_team`."""
    repository: Callable[[Any], Repository | None] = _nowhere
    subject: Callable[[Any], str] = str
    only: frozenset[str] = frozenset()
    """The fields that count; none means all but those ignored."""
    ignored: frozenset[str] = frozenset()
    """Fields whose changes are no events."""
    hidden: frozenset[str] = frozenset()
    """Fields that are told to have changed, but never what they hold."""
    kind: Callable[[str, Any, Changes], str] | None = None
    """Tells the kind from the verb, the instance and the changes, where the noun alone doesn't."""

    def fields(self) -> list[models.Field]:
        return [
            field
            for field in self.model._meta.concrete_fields
            if (field.name in self.only if self.only else field.name not in self.ignored)
            and (not field.primary_key or field.name in self.hidden)
        ]

    def kind_of(self, verb: str, instance: Any, changes: Changes) -> str:
        return self.kind(verb, instance, changes) if self.kind else f"{verb}_{self.noun}"


def _of_scope(instance: Any) -> Repository | None:
    return instance.repository


def _of_grant(instance: Any) -> Repository | None:
    place = instance.content_object
    return place if isinstance(place, Repository) else None


def _grant(instance: Any) -> str:
    holder = instance.group if hasattr(instance, "group_id") else instance.user
    codename = instance.permission.codename
    level = levels.Level(codename).label if codename in levels.ALLOWED_BY else codename
    return f"{level} on {instance.content_object} to {holder}"


def _user_kind(verb: str, user: Any, changes: Changes) -> str:
    return "update_password" if verb == "update" and "password" in changes else f"{verb}_user"


def _run_kind(verb: str, run: Run, changes: Changes) -> str:
    return f"{verb}_deletion_{'preview' if run.preview else 'run'}"


def _group_noun(group: Group) -> str:
    """Tell the group of a team, which is called `organization/team`, from others."""
    return "team" if "/" in group.name else "group"


_GRANTS = (
    RepositoryUserPermission,
    RepositoryGroupPermission,
    NamespaceUserPermission,
    NamespaceGroupPermission,
)
_SCHEDULES = (CrontabSchedule, IntervalSchedule, SolarSchedule, ClockedSchedule)

AUDITED: dict[type[models.Model], Audited] = {
    audited.model: audited
    for audited in [
        *(Audited(model, "grant", repository=_of_grant, subject=_grant) for model in _GRANTS),
        Audited(Team, "team", ignored=frozenset({"group"})),
        Audited(Organization, "organization"),
        Audited(Membership, "organization_member"),
        Audited(Namespace, "namespace", only=frozenset({"user", "organization"})),
        Audited(Repository, "visibility", repository=lambda repository: repository, only=frozenset({"visibility"})),
        Audited(Hold, "hold", repository=_of_scope),
        Audited(
            User,
            "user",
            subject=lambda user: user.get_username(),
            ignored=frozenset({"last_login", "date_joined"}),
            hidden=frozenset({"password"}),
            kind=_user_kind,
        ),
        Audited(
            AuthToken,
            "token",
            subject=lambda token: f"{token.token_key[:8]}… of {token.user}",
            ignored=frozenset({"digest", "token_key", "created"}),
        ),
        Audited(Group, "group"),
        Audited(RegistrySettings, "registry_settings"),
        Audited(AutoDeletion, "auto_deletion"),
        Audited(DeletionRule, "deletion_rule"),
        Audited(Run, "deletion_run", only=frozenset({"started_by", "cutoff"}), kind=_run_kind),
        Audited(
            PeriodicTask,
            "periodic_task",
            # What Celery beat writes by itself.
            ignored=frozenset({"last_run_at", "total_run_count", "date_changed"}),
        ),
        *(Audited(model, "schedule") for model in _SCHEDULES),
    ]
}


# --- Changes of rows ----------------------------------------------------------------------------


def connect() -> None:
    """Begin to audit; called when the application is ready."""
    for model in AUDITED:
        pre_save.connect(_remember, sender=model)
        post_save.connect(_record_save, sender=model)
        post_delete.connect(_record_deletion, sender=model)
        # Django sends post_save after it has committed; the event is to be committed with the change.
        setattr(model, "save", transaction.atomic(savepoint=False)(model.save))  # noqa: B010
    for through in (User.groups.through, User.user_permissions.through, Group.permissions.through):
        m2m_changed.connect(_record_relations, sender=through)
    user_logged_in.connect(_record_log_in)
    user_logged_out.connect(_record_log_out)
    user_login_failed.connect(_record_failed_log_in)


def _remember(sender: Any, instance: Any, raw: bool, update_fields: Iterable[str] | None, **_: Any) -> None:
    """Keep with the instance the row as it was, if something of it can change that counts."""
    audited = AUDITED[sender]
    counts = update_fields is None or {field.name for field in audited.fields()} & set(update_fields)
    instance._row_before = None
    if not raw and counts and not instance._state.adding and not acting.is_nobody():
        instance._row_before = sender._base_manager.filter(pk=instance.pk).first()


def _record_save(
    sender: Any, instance: Any, created: bool, raw: bool, update_fields: Iterable[str] | None, **_: Any
) -> None:
    if raw or acting.is_nobody():
        return
    audited = AUDITED[sender]
    before, verb = instance.__dict__.pop("_row_before", None), "update"
    if created and issubclass(sender, SingletonModel):
        before = sender()  # its first reader makes it, as if it had always been there
    elif created:
        before, verb = None, "create"
    elif before is None:
        return
    changes = _changes(audited, before, instance, update_fields)
    kind = audited.kind_of(verb, instance, changes)
    if changes and kind in KINDS and not _is_of_team(instance) and not _is_upgrade(instance, changes):
        _record_change(audited, kind, instance, changes)


def _record_deletion(sender: Any, instance: Any, origin: Any = None, **_: Any) -> None:
    """Record a deletion, but not what goes with it: one event tells of one act."""
    if origin is not instance and not (isinstance(origin, QuerySet) and origin.model is sender):
        return
    audited = AUDITED[sender]
    changes = _changes(audited, instance, None)
    kind = audited.kind_of("delete", instance, changes)
    if changes and kind in KINDS and not _is_of_team(instance) and not acting.is_nobody():
        _record_change(audited, kind, instance, changes)


def _record_change(audited: Audited, kind: str, instance: Any, changes: Changes) -> None:
    record(
        kind,
        subject=audited.subject(instance),
        repository=audited.repository(instance),
        changes=changes,
    )


def _changes(
    audited: Audited, before: Any, after: Any, update_fields: Iterable[str] | None = None
) -> dict[str, list[Any]]:
    """Return what differs between two states of a row, of which one may be None."""
    changes = {}
    for field in audited.fields():
        if update_fields is not None and field.name not in update_fields:
            continue
        old, new = (getattr(row, field.attname) if row else None for row in (before, after))
        if old == new or (old in (None, "") and new in (None, "")):
            continue
        hidden = field.name in audited.hidden
        changes[field.name] = [_hide(old), _hide(new)] if hidden else [_value(before, field), _value(after, field)]
    return changes


def _hide(value: Any) -> str | None:
    return "hidden" if value else None


def _value(row: Any, field: models.Field) -> Any:
    """Return a value as JSON can hold it; what is referred to by its name."""
    value = getattr(row, field.name, None) if row else None
    if value is None or isinstance(value, bool | int | float):
        return value
    return storable(value.codename if isinstance(value, Permission) else str(value))


def _is_of_team(instance: Any) -> bool:
    """Tell whether it is the group of a team: the team tells of it."""
    return isinstance(instance, Group) and _group_noun(instance) == "team"


def _is_upgrade(instance: Any, changes: Changes) -> bool:
    """Tell whether a log-in stored the same password hashed as Django does by now: nobody changed it."""
    return changes.keys() == {"password"} and getattr(instance, "_upgraded_password", False)


# --- Members and permissions --------------------------------------------------------------------


def _record_relations(
    sender: Any, instance: Any, action: str, reverse: bool, pk_set: set[Any] | None, model: Any, **_: Any
) -> None:
    """Record who came into groups or left them, and which permissions were given or taken."""
    if action not in ("post_add", "post_remove", "pre_clear") or acting.is_nobody():
        return
    if action == "pre_clear":
        pk_set = set(sender.objects.filter(**_side(sender, instance)).values_list(_column(sender, model), flat=True))
    if not pk_set:
        return
    others = model._base_manager.filter(pk__in=pk_set).order_by("pk")
    added = action == "post_add"
    if sender is User.groups.through:
        groups, users = ([instance], others) if reverse else (others, [instance])
        for group in groups:
            _record_members(group, [user.get_username() for user in users], added)
    else:
        holders, permissions = (others, [instance]) if reverse else ([instance], others)
        for holder in holders:
            _record_permissions(holder, [_codename(permission) for permission in permissions], added)
