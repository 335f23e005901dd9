"""Records the changes to audited models, logins, and other actions that signals announce.

The changed fields are stored in `details.changes`, in the format of `Changes`.

An event is committed in the same transaction as the change that it describes. Django itself deletes rows and
changes many-to-many relations in transactions, but `save` commits before it sends `post_save`. Therefore,
save audited models in `transaction.atomic`, as the site, the commands and the admin do. Other code, such as
Celery beat or Django's `createsuperuser`, can save outside a transaction. If recording the event then fails,
the change is kept without an event.

Django sends no signals for `QuerySet.update` and `bulk_create`, so don't use them for audited models.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from celery.signals import before_task_publish
from django.contrib.auth.models import Group, Permission
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db.models import QuerySet
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete, pre_save
from django.utils import translation
from solo.models import SingletonModel

from activity.catalogue import KINDS, OWN_CATEGORIES
from activity.models import ActorType
from activity.recording.drafts import Draft
from activity.sources.audited_models import AUDITED, RELATIONS, Audited, User
from activity.sources.auditing import (
    MAX_TEXT_LENGTH,
    STARTED_BY,
    current_actor,
    drafts_of,
    parts,
    record,
    record_draft,
)
from repositories import signals
from repositories.accounts import current_request
from repositories.accounts.service_accounts import is_service_account
from repositories.dependents import dependents_of
from repositories.models import Namespace, Policy, Team
from repositories.utils.diff import Changes, diff
from repositories.utils.text import storable_text

HIDDEN = "hidden"
"""What is stored in place of the values of hidden fields."""


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
        _record_all(_change(AUDITED[sender], verb, before, instance, update_fields))


def _record_deletion(sender: Any, instance: Any, origin: Any = None, **_: Any) -> None:
    """Record a deletion. `_record_dependents` has recorded the dependent rows."""
    if _is_requested(instance, origin):
        _record_all(_change(AUDITED[sender], "delete", instance, None))


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
    _record_all(drafts)


def _is_requested(instance: Any, origin: Any) -> bool:
    """Return whether a row is deleted for its own sake, and not along with another object."""
    return origin is instance or (isinstance(origin, QuerySet) and origin.model is type(instance))


def _record_all(drafts: Iterable[Draft]) -> None:
    for draft in drafts:
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
    return drafts_of(kind, subject=subject, repository=repository, user_id=user_id, at=at, **details)


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
            _record_all(_members(group, holders, added=action == "post_add"))
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
        for draft in drafts_of(
            kind, subject=str(team or group), user_id=user_id, members=part, count=len(part)
        )
    ]


def _record_permissions(holder: Any, permissions: list[Permission], added: bool) -> None:
    """Record granted or revoked permissions as an update of the user or group."""
    names = sorted(f"{permission.content_type.app_label}.{permission.codename}" for permission in permissions)
    kind = "update_user" if isinstance(holder, User) else "update_group"
    user_id = holder.pk if isinstance(holder, User) else None
    for part in parts(names):
        changes = {"permissions": {"after" if added else "before": part}}
        record(kind, subject=str(holder), user_id=user_id, changes=changes, count=len(part))


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
