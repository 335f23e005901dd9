"""The models whose changes are recorded as events. To audit a model, add it to `AUDITED`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import models
from django_celery_beat import models as beat

from activity.models import AutoDeletion, DeletionRule, Dispute, Hold, Registry, Run
from repositories.access import grants
from repositories.access.resolving import GRANTS
from repositories.models import (
    AccessToken,
    Membership,
    Namespace,
    Organization,
    Profile,
    RegistrySettings,
    Repository,
    Team,
)
from repositories.utils.diff import Changes

User: Any = get_user_model()


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
