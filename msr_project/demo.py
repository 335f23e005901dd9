"""Demo data: two organizations, users with different access levels, and three months of realistic events."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group
from guardian.shortcuts import assign_perm

from activity.catalogue import KINDS, REPOSITORY_KINDS
from activity.models import MANUAL_PROMOTION_NAME, ActorType
from activity.recording.drafts import Delivery, Draft
from repositories import names
from repositories.access.groups import AUDITORS, MSR_ADMINS
from repositories.access.levels import Level
from repositories.accounts import current_request
from repositories.models import (
    Membership,
    Namespace,
    Organization,
    Policy,
    RegistrySettings,
    Repository,
    Team,
)

USERS = {
    "admin": "MSR admin: can see and do everything, including in the Django admin",
    "auditor": "security auditor: can see everything, but can't change anything",
    "repoadmin": "admin of the private repository acme/web through a team: can also see its pulls",
    "reader": "reader of acme/web through a team: can see its pushes, scans and deletions",
    "outsider": "not in any team: can see only the public repositories",
}
DAYS = 90
PUBLIC_REPOSITORIES = ["acme/docs", "globex/runtime", "alpine"]
EVENT_WEIGHTS = {
    "acme/web": 40,
    "alpine": 25,
    "globex/runtime": 15,
    "acme/team/worker": 10,
    "acme/docs": 6,
    "globex/billing": 4,
    "acme/production": 2,
}
DELETED_REPOSITORY = "acme/prototype"
DEVELOPERS = ["repoadmin", "dana", "li"]
CONSUMERS = ["reader", "repoadmin", "dana", "li", "mara"]
USER_AGENTS = ["docker/29.1.2 go/go1.25 os/linux", "skopeo/1.9.3", "containerd/v2.1.0", "podman/5.4"]
POLICY_ACTORS = {
    "promote": ActorType.PROMOTION,
    "push_mirror": ActorType.PUSH_MIRRORING,
    "pull_mirror": ActorType.PULL_MIRRORING,
    "delete_tag": ActorType.PRUNING,
}
TAGS = ["latest", "v1", "v1.1", "v2", "nightly"]


def is_loaded() -> bool:
    """Return whether the demo data has been loaded."""
    return Repository.objects.named("acme/web").exists()


def set_passwords(password: str) -> None:
    """Set the password of all demo users."""
    users = get_user_model()._default_manager.filter(username__in=USERS)
    users.update(password=make_password(password))


@current_request.auditing_disabled()
def create_objects() -> None:
    """Create the users, organizations, teams, repositories and policies."""
    create_user = get_user_model()._default_manager.create_user  # without a usable password
    users = {name: create_user(name) for name in {*USERS, *DEVELOPERS, *CONSUMERS}}
    for name, group in (("admin", MSR_ADMINS), ("auditor", AUDITORS)):
        users[name].is_staff = True
        users[name].save()
        users[name].groups.add(Group.objects.get(name=group))
    acme, globex = (Organization.objects.create(name=name) for name in ("acme", "globex"))
    Membership.objects.create(organization=acme, user=users["dana"], role=Membership.Role.OWNER)
    Membership.objects.create(organization=globex, user=users["li"], role=Membership.Role.OWNER)
    for full_name in EVENT_WEIGHTS:
        namespace, name = names.split_name(full_name)
        visibility = "public" if full_name in PUBLIC_REPOSITORIES else "private"
        parent, _ = Namespace.objects.get_or_create(name=namespace)
        parent.repositories.create(name=name, visibility=visibility)
    web = Repository.objects.named("acme/web").get()
    for team_name, member, level in (
        ("web-admins", "repoadmin", Level.ADMIN),
        ("web-readers", "reader", Level.READ),
    ):
        team = Team.objects.create(organization=acme, name=team_name)
        Membership.objects.create(organization=acme, user=users[member])
        team.group.user_set.add(users[member])
        assign_perm(level.value, team.group, web)
    production = Repository.objects.named("acme/production").get()
    assign_perm(Level.READ_WRITE.value, Group.objects.get(name="acme/web-admins"), production)
    _create_policies(web, production)
    RegistrySettings(scanning_enabled=True).save()


def _create_policies(web: Repository, production: Repository) -> None:
    """Create an enabled policy of each kind for acme/web, and one disabled policy."""
    mirror = {"remote_registry": "https://mirror.example.com", "remote_repository": "acme/web"}
    policies: list[tuple[Policy.Kind, dict[str, Any], dict[str, str]]] = [
        (Policy.Kind.PROMOTION, {"target": production, "tag_template": "%n-%Y%m%d"}, {"starts_with": "v"}),
        (Policy.Kind.PUSH_MIRRORING, {**mirror, "tag_template": "%n"}, {"one_of": "latest, v2"}),
        (Policy.Kind.PULL_MIRRORING, {**mirror, "interval": Policy.Interval.DAILY}, {}),
        (Policy.Kind.PRUNING, {}, {"not_one_of": "latest", "all_but_newest": "2"}),
        (Policy.Kind.PRUNING, {"enabled": False}, {"starts_with": "nightly", "not_pulled_for": "30"}),
    ]
    for kind, values, criteria in policies:
        policy = Policy.objects.create(kind=kind, repository=web, **values)
        for operator, value in criteria.items():
            policy.criteria.create(operator=operator, value=value)


class EventGenerator:
    """Generates random events of all kinds, most of them pulls."""

    def __init__(self, until: datetime, delivery: Delivery, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.until = until
        self.delivery = delivery
        self.policies = {policy.kind: policy for policy in Policy.objects.filter(enabled=True)}
        self.digests = {name: self._random_digest() for name in [*EVENT_WEIGHTS, DELETED_REPOSITORY]}

    def events(self, count: int) -> Iterator[Draft]:
        """Yield the drafts of about `count` events from the three months before `until`."""
        start = self.until - timedelta(days=DAYS)
        for name in EVENT_WEIGHTS:
            yield self._draft("create_repository", name, start, actor="dana")
        # acme/web gets at least one event of every kind except `delete_repository`, so that its pages can
        # show all kinds. Another repository gets the `delete_repository` event.
        for number, kind in enumerate(REPOSITORY_KINDS, 1):
            name = DELETED_REPOSITORY if kind == "delete_repository" else "acme/web"
            yield self._draft(kind, name, start + timedelta(days=2 * number, hours=9))
        yield self._draft("create_manifest", DELETED_REPOSITORY, start + timedelta(days=1), actor="dana")
        times = sorted(start + timedelta(days=DAYS) * self.random.random() for _ in range(count * 9 // 10))
        for occurred_at in times:
            name = self.random.choices(list(EVENT_WEIGHTS), weights=list(EVENT_WEIGHTS.values()))[0]
            yield from self._random_events(name, occurred_at)
        yield from self._attachments("acme/web")

    def _attachments(self, name: str) -> Iterator[Draft]:
        """Yield the drafts that push a signature and an SBOM of a repository's newest image."""
        image = self.digests[name].replace(":", "-")
        for number, suffix in enumerate([".sig", ".sbom"], 1):
            self.digests[name] = self._random_digest()
            draft = self._draft("update_tag", name, self.until - timedelta(seconds=number), "dana")
            yield replace(draft, tag=image + suffix)

    def _random_events(self, name: str, occurred_at: datetime) -> Iterator[Draft]:
        """Yield the drafts of one pull, push (with its scan), promotion, mirroring or deletion."""
        chance = self.random.random()
        if chance < 0.9:
            yield self._draft(
                "get_tag" if chance < 0.7 else "get_manifest", name, occurred_at, self._pick(CONSUMERS)
            )
        elif chance < 0.97:
            self.digests[name] = self._random_digest()
            developer, scanned_at = self._pick(DEVELOPERS), occurred_at + timedelta(seconds=40)
            yield from self._push(name, occurred_at, developer)
            if scanned_at < self.until:
                yield self._draft("scan" if chance < 0.965 else "scan_failed", name, scanned_at)
        elif name == "acme/web":
            yield self._draft(
                self._pick(["promote", "push_mirror", "pull_mirror", "delete_tag"]), name, occurred_at
            )
        else:
            yield self._draft("delete_tag", name, occurred_at, self._pick(DEVELOPERS))

    def _push(self, name: str, occurred_at: datetime, developer: str) -> Iterator[Draft]:
        """Yield the drafts of the push of a tag, which a registry sends in one notification."""
        manifest = self._draft("create_manifest", name, occurred_at, developer)
        details = {**manifest.details, "notification_id": manifest.source_id}
        yield replace(manifest, details=details)
        tag = self._draft("update_tag", name, occurred_at, developer)
        yield replace(tag, source_id=manifest.source_id, ordinal=2, details=details)

    def _draft(self, kind: str, name: str, occurred_at: datetime, actor: str = "") -> Draft:
        actor_type, actor_name = (ActorType.USER, actor) if actor else self._default_actor(kind, name)
        tags = TAGS[1:] if kind == "delete_tag" else TAGS  # the pruning policy excludes `latest`
        return Draft(
            kind=kind,
            repository_name=name,
            occurred_at=occurred_at,
            received_at=occurred_at,
            delivery=self.delivery,
            source_id=str(UUID(int=self.random.getrandbits(128), version=4)),
            tag=self._pick(tags) if "tag" in KINDS[kind].requires else "",
            digest="" if kind in ("delete_tag", "create_repository") else self.digests[name],
            actor_type=actor_type,
            actor_name=actor_name,
            policy=self._changed_policy(kind),
            details={
                "client_address": f"10.0.0.{self.random.randint(2, 250)}",
                "user_agent": self._pick(USER_AGENTS),
                **(_findings(self.digests[name]) if kind == "scan" else {}),
            },
        )

    def _changed_policy(self, kind: str) -> Policy | None:
        """Return the policy that an event of this kind created or updated, or None for other kinds."""
        verb, _, noun = kind.partition("_")
        return self.policies.get(noun.removesuffix("_policy")) if verb in ("create", "update") else None

    def _default_actor(self, kind: str, name: str) -> tuple[ActorType, str]:
        """Return the type and name of an event's actor.

        If a policy for acme/web could have caused the event, the actor is usually that policy. Some
        promotions are manual promotions instead. The actor of all other events is a user.
        """
        actor = POLICY_ACTORS.get(kind.removesuffix("_failed"))
        if name != "acme/web" or actor is None:
            return ActorType.USER, "repoadmin"
        if kind == "promote" and self.random.random() < 0.2:
            return ActorType.MANUAL_PROMOTION, MANUAL_PROMOTION_NAME
        return actor, self.policies[actor].public_id

    def _random_digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.random.randbytes(16)).hexdigest()

    def _pick(self, values: list[str]) -> str:
        return self.random.choice(values)


def _findings(digest: str) -> dict[str, str]:
    """Return the details of a scan, which are always the same for an image."""
    number = int(digest[-6:], 16)
    counts = {"critical": number % 3, "high": number % 7, "medium": number % 13, "low": number % 29}
    found = {severity: str(count) for severity, count in counts.items()}
    return {**found, "scanner": "Trivy", "report": f"https://scans.example.com/{digest[-6:]}"}
