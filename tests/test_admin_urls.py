"""Who may open which page of the admin: every address that there is, by every role, by GET and by POST.

The addresses are those that the resolver knows. One that no row of the table speaks of fails, and so
does a row that speaks of none. To add a page, add a row; to add a model, add how one is made, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone
from django_celery_beat import models as beat
from guardian.shortcuts import assign_perm
from knox.models import get_token_model

from activity.models import (
    Archive,
    AutoDeletion,
    DeadLetter,
    DeletionRule,
    Event,
    Hold,
    Import,
    Registry,
    Run,
)
from repositories.models import Membership, RegistrySettings, Repository
from tests import factories
from tests.test_gating import undone

# --- What should be -----------------------------------------------------------------------------

LOG_IN, SHOWN, LED_ON, REFUSED = "log in", "shown", "led on", "refused"
OUTSIDERS = ("anonymous", "user", "repository admin")
"""Whoever isn't staff has to log in as somebody else, whatever they may do on the site."""
STAFF = ("clerk", "auditor", "MSR admin")
"""A clerk is staff without any permission; on the site, this one administers the repository."""

VIEWED = "registry_activity_(event|run|archive|import|deadletter)"
EDITED = (
    "(registry_activity_(registry|deletionrule|hold)|auth_user|"
    "registry_repositories_(membership|organization|team|namespace|repository|policy))"
)
SINGLE = "(registry_activity_autodeletion|registry_repositories_registrysettings)"
OTHERS = "(django_celery_beat_.*|knox_authtoken)"

# Columns are two spaces or more apart. The first row that fits an address decides.
TABLE = f"""
address                                                clerk              auditor            MSR admin
                                                       GET, POST          GET, POST          GET, POST

index                                                  shown, shown       shown, shown       shown, shown
login                                                  led on, shown      led on, shown      led on, shown
logout                                                 405, led on        405, led on        405, led on
password_change                                        shown, shown       shown, shown       shown, shown
password_change_done                                   shown, 405         shown, 405         shown, 405
autocomplete                                           refused, 405       refused, 405       refused, 405
jsi18n                                                 shown, 405         shown, 405         shown, 405
view_on_site                                           404, 404           404, 404           404, 404
app_list                                               404, 404           shown, shown       shown, shown
unknown                                                404, 404           404, 404           404, 404
.*_short                                               led on, led on     led on, led on     led on, led on

registry_activity_event_export                         refused, refused   405, led on        405, led on
registry_activity_event_changelist                     refused, refused   shown, led on      shown, led on
registry_activity_deadletter_(replay|dismiss)          refused, refused   refused, refused   led on, led on
registry_activity_deadletter_download                  refused, refused   shown, shown       shown, shown
registry_activity_(deadletter|import)_changelist       refused, refused   shown, shown       shown, led on
{VIEWED}_changelist                                    refused, refused   shown, shown       shown, shown
{VIEWED}_history                                       refused, refused   shown, shown       shown, shown
{VIEWED}_change                                        refused, refused   shown, refused     shown, refused
{VIEWED}_(add|delete)                                  refused, refused   refused, refused   refused, refused
registry_activity_run_stop                             led on, led on     led on, led on     led on, led on

registry_activity_autodeletion_start                   led on, led on     led on, led on     led on, led on
registry_repositories_registrysettings_change(list)?     refused, refused   shown, refused     shown, led on
{SINGLE}_change(list)?                                 refused, refused   shown, refused     shown, shown
{SINGLE}_history                                       refused, refused   shown, shown       shown, shown
{SINGLE}_(add|delete)                                  refused, refused   refused, refused   refused, refused

registry_activity_deletionrule_deciding                led on, led on     shown, shown       shown, shown
registry_activity_registry_add                         refused, refused   refused, refused   refused, refused
registry_repositories_repository_access                refused, refused   shown, shown       shown, shown
auth_user_access                                       refused, refused   shown, shown       shown, shown
auth_user_password_change                              refused, refused   refused, refused   shown, shown
.*_permissions                                         led on, led on     led on, led on     shown, shown
.*_permissions_manage_(user|group)                     led on, led on     led on, led on     shown, led on
registry_repositories_namespace_changelist             refused, refused   shown, shown       shown, shown
registry_repositories_namespace_delete                 refused, refused   refused, refused   shown, shown
{EDITED}_changelist                                    refused, refused   shown, shown       shown, led on
{EDITED}_history                                       refused, refused   shown, shown       shown, shown
{EDITED}_change                                        refused, refused   shown, refused     shown, shown
{EDITED}_add                                           refused, refused   refused, refused   shown, shown
{EDITED}_delete                                        refused, refused   refused, refused   shown, led on

auth_group_(changelist|history)                        refused, refused   shown, shown       shown, shown
auth_group_change                                      refused, refused   shown, refused     shown, refused
auth_group_(add|delete)                                refused, refused   refused, refused   refused, refused

knox_authtoken_change                                  refused, refused   shown, refused     shown, refused
{OTHERS}_changelist                                    refused, refused   shown, shown       shown, led on
{OTHERS}_history                                       refused, refused   shown, shown       shown, shown
{OTHERS}_change                                        refused, refused   shown, refused     shown, shown
{OTHERS}_add                                           refused, refused   refused, refused   shown, shown
{OTHERS}_delete                                        refused, refused   refused, refused   shown, led on
"""


def expected(name: str, role: str) -> tuple[str, str]:
    """Return what somebody in a role gets by GET and by POST. Fails for an address without a row."""
    get, post = row_of(name)[1 + STAFF.index(role)].split(", ")
    return get, post


def row_of(name: str) -> list[str]:
    for row in rows():
        if re.fullmatch(row[0], name):
            return row
    raise AssertionError(f"No row of the table speaks of {name}.")


def rows() -> list[list[str]]:
    return [re.split(r"\s{2,}", line) for line in TABLE.splitlines()[4:] if line]


# --- What is ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Address:
    """An address of the admin: the model that it is about, if it is about one, and its name."""

    route: str
    name: str

    @property
    def model(self) -> Any:
        app, _, rest = self.route.partition("/")
        try:
            return apps.get_model(app, rest.partition("/")[0])
        except (LookupError, ValueError):
            return None


def addresses() -> list[Address]:
    """Return all addresses of the admin."""
    (own,) = [found for found in get_resolver().url_patterns if getattr(found, "namespace", "") == "admin"]
    return [Address(route, name) for route, name in walk(own, "")]


def walk(resolver: Any, prefix: str) -> Iterator[tuple[str, str]]:
    for found in resolver.url_patterns:
        route = prefix + str(found.pattern)
        if isinstance(found, URLResolver):
            yield from walk(found, route)
        elif isinstance(found, URLPattern):
            yield route, found.name or name_of(route)


def name_of(route: str) -> str:
    """Name what Django doesn't: the short address of a row, which leads to its page, and all others."""
    return f"{route.replace('/', '_')}_short" if "object_id" in route else "unknown"


class World:
    """One of everything that an address can be about."""

    def __init__(self) -> None:
        now = timezone.now()
        self.repository = factories.repository("acme/web")
        organization: Any = self.repository.namespace.organization
        self.user = factories.UserFactory(username="jane")
        self.team = factories.team_of(organization, self.user)
        factories.record("update_tag", self.repository, tag="v1")
        run: dict[str, Any] = {"cutoff": now, "lease_until": now, "settings": {}}
        makers: list[Callable[[], Any]] = [
            lambda: Event.objects.latest("pk"),
            lambda: DeadLetter.objects.create(source="registry", reason="?", content=b"{", size=1),
            lambda: Registry.objects.create(account=self.user),
            AutoDeletion.get_solo,
            lambda: DeletionRule.objects.create(age=1),
            lambda: Hold.objects.create(repository=self.repository, reason="A lawsuit"),
            lambda: Run.objects.create(**run),
            lambda: Archive.objects.create(name="archive"),
            lambda: Import.objects.create(archive_name="archive"),
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
            lambda: get_token_model().objects.create(user=self.user)[0],
        ]
        self.rows = {type(row): row for row in (make() for make in makers)}

    def row(self, address: Address) -> Any:
        """Return what an address is about, the repository where it is about nothing of the kind."""
        return self.rows[address.model or Repository]

    def path(self, address: Address) -> str:
        """Return an address with what it is about filled in."""
        values = {
            "user_id": self.user.pk,
            "group_id": self.team.group_id,
            "content_type_id": ContentType.objects.get_for_model(Repository).pk,
            "app_label": "registry_activity",
            "url": "nowhere",
        }
        about = self.row(address).pk
        route = re.sub(r"[\^$]|\(\?P(<\w+>)(?:[^()])*\)", lambda found: found[1] or "", address.route)
        return "/admin/" + re.sub(r"<(?:\w+:)?(\w+)>", lambda found: str(values.get(found[1], about)), route)

    def client(self, role: str) -> Client:
        """Return the browser of somebody in a role."""
        client = Client()
        if role == "MSR admin":
            client.force_login(factories.msr_admin())
        elif role == "auditor":
            client.force_login(factories.auditor())
        elif role != "anonymous":
            person = factories.UserFactory(is_staff=role == "clerk")
            if role != "user":
                assign_perm("level_admin", person, self.repository)
            client.force_login(person)
        return client


def outcome(response: Any) -> str:
    if response.status_code == 302:
        to_log_in = re.match("/(admin|accounts)/login/[?]", response["Location"])
        return LOG_IN if to_log_in else LED_ON
    return {200: SHOWN, 403: REFUSED}.get(response.status_code, str(response.status_code))


def ask(
    client: Client, method: str, path: str, row: Any, action: str = "delete_selected"
) -> tuple[str, list[str]]:
    """Return what an address answers, and the statements that changed something; then undo it all."""
    form = {"action": action, "_selected_action": row.pk, "index": "0", "post": "yes"}
    cookies = client.cookies.copy()  # to log out is to lose them
    with undone(), CaptureQueriesContext(connection) as captured:
        response: Any = client.get(path) if method == "get" else client.post(path, form)
        list(response.streaming_content if response.streaming else ())
    client.cookies = SimpleCookie(cookies)
    changes = [query["sql"] for query in captured if re.match("INSERT|UPDATE|DELETE", query["sql"])]
    return outcome(response), [sql for sql in changes if not OWN_DOINGS.search(sql)]


OWN_DOINGS = re.compile(
    "django_session|auth_user.*last_login|registry_activity_event|registry_activity_tallychange"
)
"""What comes of visiting and of being refused: a session, and the record of it."""


# --- The comparison -----------------------------------------------------------------------------


@pytest.fixture
def world(db: None) -> World:
    return World()


@pytest.mark.parametrize("role", OUTSIDERS)
def test_outsiders_have_to_log_in(world: World, role: str) -> None:
    client = world.client(role)
    for address in addresses():
        for method in ("get", "post"):
            answer, changes = ask(client, method, world.path(address), world.row(address))
            allowed = {"login": SHOWN, "logout": LED_ON if method == "post" else LOG_IN}
            if address.name == "logout":
                assert answer in (LOG_IN, LED_ON), role
            else:
                assert (address.name, answer) == (address.name, allowed.get(address.name, LOG_IN))
            assert changes == []


@pytest.mark.parametrize("role", STAFF)
def test_staff_get_what_the_table_says(world: World, role: str) -> None:
    client, wrong = world.client(role), []
    for address in addresses():
        answers = [ask(client, method, world.path(address), world.row(address)) for method in ("get", "post")]
        found = tuple(answer for answer, _ in answers)
        if found != expected(address.name, role):
            wrong.append(f"{address.route}: {found}")
        if role != "MSR admin":
            assert [changes for _, changes in answers] == [[], []], address

    assert wrong == []


def test_actions_of_auditors_change_nothing(world: World) -> None:
    client = world.client("auditor")
    for address in addresses():
        if not address.name.endswith("_changelist"):
            continue
        model_admin: Any = admin.site.get_model_admin(address.model)
        for _, action, _ in model_admin._get_base_actions():
            _, changes = ask(client, "post", world.path(address), world.row(address), action)
            assert (address.name, action, changes) == (address.name, action, [])


def test_every_row_speaks_of_an_address() -> None:
    used = {row_of(address.name)[0] for address in addresses()}

    assert [row[0] for row in rows() if row[0] not in used] == []
