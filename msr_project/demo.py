"""Demo data: two organizations, people of each level, and three months of plausible events."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from guardian.shortcuts import assign_perm

from activity.catalogue import KINDS, REPOSITORY_KINDS
from activity.models import MANUAL_PROMOTION_NAME, ActorType
from activity.recording.drafts import Draft
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
    "admin": "MSR admin: sees and does everything, also in the admin site",
    "auditor": "security auditor: sees everything, changes nothing",
    "repoadmin": "admin of the private acme/web, through a team: sees its pulls",
    "reader": "may read acme/web, through a team: sees its pushes, scans and deletions",
    "outsider": "in no team: sees the public repositories only",
}
DAYS = 90
PUBLIC = ["acme/docs", "globex/runtime", "alpine"]
PRIVATE = ["acme/web", "acme/production", "acme/team/worker", "globex/billing"]
SHARES = {
    "acme/web": 40,
    "alpine": 25,
    "globex/runtime": 15,
    "acme/team/worker": 10,
    "acme/docs": 6,
    "globex/billing": 4,
    "acme/production": 2,
}
FORMER = "acme/prototype"
DEVELOPERS = ["repoadmin", "dana", "li"]
CONSUMERS = ["reader", "repoadmin", "dana", "li", "mara"]
AGENTS = ["docker/29.1.2 go/go1.25 os/linux", "skopeo/1.9.3", "containerd/v2.1.0", "podman/5.4"]


def is_loaded() -> bool:
    return Repository.objects.named("acme/web").exists()


@current_request.auditing_disabled()
def set_passwords(password: str) -> None:
    """Give all demo users this password."""
    for user in get_user_model()._default_manager.filter(username__in=USERS):
        user.set_password(password)
        user.save(update_fields=["password"])


@current_request.auditing_disabled()
def load_world() -> None:
    """Make people, organizations, teams, repositories and policies."""
    users = {name: _user(name) for name in {*USERS, *DEVELOPERS, *CONSUMERS}}
    for name, group in (("admin", MSR_ADMINS), ("auditor", AUDITORS)):
        users[name].is_staff = True
        users[name].save()
        users[name].groups.add(Group.objects.get(name=group))
    acme, globex = (Organization.objects.create(name=name) for name in ("acme", "globex"))
    Membership.objects.create(organization=acme, user=users["dana"], role=Membership.Role.OWNER)
    Membership.objects.create(organization=globex, user=users["li"], role=Membership.Role.OWNER)
    for full_name in [*PUBLIC, *PRIVATE]:
        namespace, name = names.split_name(full_name)
        Repository.objects.create(
            namespace=Namespace.objects.get_or_create(name=namespace)[0],
            name=name,
            visibility=Repository.Visibility.PUBLIC if full_name in PUBLIC else Repository.Visibility.PRIVATE,
        )
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
    _make_policies(web, production)
    settings = RegistrySettings.get_solo()
    settings.scanning_enabled = True
    settings.save()


def _make_policies(web: Repository, production: Repository) -> None:
    """Make a policy of each kind for acme/web, and one that is switched off."""
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


def _user(name: str) -> Any:
    user = get_user_model()(username=name)
    user.set_unusable_password()
    user.save()
    return user


class Story:
    """Makes up what happened: `events(count)` yields drafts of all kinds, most of them pulls."""

    def __init__(self, until: datetime, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.until = until
        self.policies = {policy.kind: policy for policy in Policy.objects.filter(enabled=True)}
        self.digests = {name: self._digest() for name in [*SHARES, FORMER]}

    def events(self, count: int) -> Iterator[Draft]:
        """Yield about `count` drafts over the last three months, none in the future."""
        start = self.until - timedelta(days=DAYS)
        for name in SHARES:
            yield self._draft("create_repository", name, start, actor="dana")
        # acme/web has one of each kind, so that there is something to see of everything, but for the
        # deletion, which another one suffers.
        for number, kind in enumerate(REPOSITORY_KINDS, 1):
            name = FORMER if kind == "delete_repository" else "acme/web"
            yield self._draft(kind, name, start + timedelta(days=2 * number, hours=9))
        yield self._draft("create_manifest", FORMER, start + timedelta(days=1), actor="dana")
        moments = sorted(start + timedelta(days=DAYS) * self.random.random() for _ in range(count * 9 // 10))
        for moment in moments:
            name = self.random.choices(list(SHARES), weights=list(SHARES.values()))[0]
            yield from self._what_happens(name, moment)

    def _what_happens(self, name: str, moment: datetime) -> Iterator[Draft]:
        chance = self.random.random()
        if chance < 0.9:
            yield self._draft(
                "get_tag" if chance < 0.7 else "get_manifest", name, moment, self._one(CONSUMERS)
            )
        elif chance < 0.97:
            self.digests[name] = self._digest()
            developer, scanned = self._one(DEVELOPERS), moment + timedelta(seconds=40)
            yield self._draft("create_manifest", name, moment, developer)
            yield self._draft("update_tag", name, moment + timedelta(milliseconds=1), developer)
            if scanned < self.until:
                yield self._draft("scan" if chance < 0.965 else "scan_failed", name, scanned)
        elif name == "acme/web":
            yield self._draft(
                self._one(["promote", "push_mirror", "pull_mirror", "delete_tag"]), name, moment
            )
        else:
            yield self._draft("delete_tag", name, moment, self._one(DEVELOPERS))

    def _draft(self, kind: str, name: str, moment: datetime, actor: str = "") -> Draft:
        actor_type, actor_name = (ActorType.USER, actor) if actor else self._usual_actor(kind, name)
        return Draft(
            kind=kind,
            repository_name=name,
            occurred_at=moment,
            source_id=str(UUID(int=self.random.getrandbits(128), version=4)),
            tag=self._one(["latest", "v1", "v1.1", "v2", "nightly"]) if "tag" in KINDS[kind].requires else "",
            digest="" if kind in ("delete_tag", "create_repository") else self.digests[name],
            actor_type=actor_type,
            actor_name=actor_name,
            policy=self._subject(kind),
            details={
                "client_address": f"10.0.0.{self.random.randint(2, 250)}",
                "user_agent": self._one(AGENTS),
            },
        )

    def _subject(self, kind: str) -> Policy | None:
        """Return the policy that was made or changed, if it was one."""
        verb, _, what = kind.partition("_")
        return self.policies.get(what.removesuffix("_policy")) if verb in ("create", "update") else None

    def _usual_actor(self, kind: str, name: str) -> tuple[ActorType, str]:
        """Return who does such things: a policy of acme/web, where it has one for them."""
        if name == "acme/web":
            if kind == "promote" and self.random.random() < 0.2:
                return ActorType.MANUAL_PROMOTION, MANUAL_PROMOTION_NAME
            for prefix, actor in (
                ("promote", ActorType.PROMOTION),
                ("push_mirror_", ActorType.PUSH_MIRRORING),
                ("pull_mirror_", ActorType.PULL_MIRRORING),
                ("delete_tag_", ActorType.PRUNING),
            ):
                if f"{kind}_".startswith(prefix):
                    return actor, self.policies[actor].public_id
        return ActorType.USER, "repoadmin"

    def _digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.random.randbytes(16)).hexdigest()

    def _one(self, of: list[str]) -> str:
        return self.random.choice(of)
