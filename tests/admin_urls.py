"""The URLs of the admin, and objects to which they lead."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone
from django_celery_beat import models as beat
from guardian.shortcuts import assign_perm

from activity.models import (
    Archive,
    AutoDeletion,
    DeadLetter,
    DeletionRule,
    Dispute,
    Event,
    Hold,
    Import,
    Registry,
    Run,
    Verification,
)
from repositories.models import AccessToken, Membership, RegistrySettings, Repository
from tests import factories


@dataclass(frozen=True)
class AdminURL:
    """An admin URL pattern: its route below /admin/, and its name."""

    route: str
    name: str

    @property
    def model(self) -> Any:
        """The model that the URL belongs to, or None if it belongs to no model."""
        app, _, rest = self.route.partition("/")
        try:
            return apps.get_model(app, rest.partition("/")[0])
        except (LookupError, ValueError):
            return None


def admin_urls() -> list[AdminURL]:
    """Return all admin URLs."""
    (resolver,) = [
        found for found in get_resolver().url_patterns if getattr(found, "namespace", "") == "admin"
    ]
    return [AdminURL(route, name) for route, name in walk_patterns(resolver, "")]


def walk_patterns(resolver: Any, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield the route and the name of each URL pattern."""
    for pattern in resolver.url_patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from walk_patterns(pattern, route)
        elif isinstance(pattern, URLPattern):
            yield route, pattern.name or default_name(route)


def default_name(route: str) -> str:
    """Return a name for an unnamed pattern: a redirect to a change page, or the catch-all pattern."""
    return f"{route.replace('/', '_')}_short" if "object_id" in route else "unknown"


class SampleData:
    """One object of each model in the admin, and methods that return the paths and clients for requests."""

    def __init__(self) -> None:
        now = timezone.now()
        self.repository = factories.repository("acme/web")
        organization: Any = self.repository.namespace.organization
        self.user = factories.UserFactory(username="jane")
        self.team = factories.team_of(organization, self.user)
        factories.record("update_tag", self.repository, tag="v1")
        run: dict[str, Any] = {"cutoff": now, "lease_until": now, "settings": {}}
        creators: list[Callable[[], Any]] = [
            lambda: Event.objects.latest("pk"),
            lambda: DeadLetter.objects.create(source="registry", reason="?", content=b"{", size=1),
            lambda: Registry.objects.create(account=factories.UserFactory()),
            AutoDeletion.get_solo,
            lambda: DeletionRule.objects.create(age=1),
            lambda: Hold.objects.create(repository=self.repository, reason="A lawsuit"),
            lambda: Run.objects.create(**run),
            lambda: Archive.objects.create(name="archive"),
            lambda: Import.objects.create(archive_name="archive"),
            lambda: Verification.objects.create(started_by="jane"),
            lambda: self.user,
            lambda: self.team.group,
            lambda: Membership.objects.get(),
            lambda: organization,
            lambda: self.team,
            lambda: self.repository.namespace,
            lambda: self.repository,
            lambda: factories.PolicyFactory(repository=self.repository),
            RegistrySettings.get_solo,
            lambda: beat.PeriodicTask.objects.all()[0],
            lambda: beat.ClockedSchedule.objects.create(clocked_time=now),
            lambda: beat.CrontabSchedule.objects.all()[0],
            lambda: beat.SolarSchedule.objects.create(event="sunrise", latitude=0, longitude=0),
            lambda: beat.IntervalSchedule.objects.create(every=1, period="days"),
            lambda: AccessToken.objects.create(user=self.user)[0],
            lambda: Dispute.objects.create(account=self.user, since=now, reason="A leak."),
        ]
        self.rows = {type(row): row for row in (create() for create in creators)}

    def row(self, url: AdminURL) -> Any:
        """Return the object of the model that a URL belongs to, or the repository if there is no model."""
        return self.rows[url.model or Repository]

    def path(self, url: AdminURL) -> str:
        """Return the path of a URL, filled in with the ids of the sample objects."""
        values = {
            "user_id": self.user.pk,
            "group_id": self.team.group_id,
            "content_type_id": ContentType.objects.get_for_model(Repository).pk,
            "app_label": "registry_activity",
            "url": "nowhere",
        }
        object_id = self.row(url).pk
        route = re.sub(r"[\^$]|\(\?P(<\w+>)(?:[^()])*\)", lambda match: match[1] or "", url.route)
        return "/admin/" + re.sub(
            r"<(?:\w+:)?(\w+)>", lambda match: str(values.get(match[1], object_id)), route
        )

    def client(self, role: str) -> Client:
        """Return a client that is logged in as a user with this role, unless the role is `anonymous`."""
        client = Client()
        if role == "MSR admin":
            client.force_login(factories.msr_admin())
        elif role == "auditor":
            client.force_login(factories.auditor())
        elif role != "anonymous":
            user = factories.UserFactory(is_staff=role == "staff")
            if role != "user":
                assign_perm("level_admin", user, self.repository)
            client.force_login(user)
        return client
