"""Every role gets the expected status for GET and POST requests to every admin URL.

The tests take the URLs from Django's URL resolver. They fail if a URL has no row in the table, or if a row
matches no URL. When you add a page, add a row. When you add a model, also create an instance in `SampleData`.
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
from tests.worlds import rolled_back

# --- The expected statuses ----------------------------------------------------------------------

LOGIN = "login"
"""The outcome of a request that is redirected to a login page."""
OUTSIDERS = ("anonymous", "user", "repository admin")
"""The roles of users who aren't staff. The admin asks such users to log in, even repository admins."""
STAFF = ("staff", "auditor", "MSR admin")
"""The roles of staff users. Users with the `staff` role are repository admins without admin permissions."""

READ_ONLY = "registry_activity_(event|run|archive|import|deadletter|verification)"
EDITABLE = (
    "(registry_activity_(registry|deletionrule|hold)|auth_user|"
    "registry_repositories_(membership|organization|team|namespace|repository|policy))"
)
SINGLETON = "(registry_activity_autodeletion|registry_repositories_registrysettings)"
IMMUTABLE = "(registry_activity_dispute|registry_repositories_accesstoken)"
OTHERS = "(django_celery_beat_.*|registry_activity_dispute|registry_repositories_accesstoken)"

# Columns are separated by at least two spaces. The first row that matches the name of a URL applies.
TABLE = f"""
URL name                                               staff      auditor    MSR admin
                                                       GET, POST  GET, POST  GET, POST

index                                                  200, 200   200, 200   200, 200
login                                                  302, 200   302, 200   302, 200
logout                                                 405, 302   405, 302   405, 302
password_change                                        302, 302   302, 302   302, 302
password_change_done                                   200, 405   200, 405   200, 405
autocomplete                                           403, 405   403, 405   403, 405
jsi18n                                                 200, 405   200, 405   200, 405
view_on_site                                           404, 404   404, 404   404, 404
app_list                                               404, 404   200, 200   200, 200
unknown                                                404, 404   404, 404   404, 404
.*_short                                               302, 302   302, 302   302, 302

registry_activity_event_export                         403, 403   405, 302   405, 302
registry_activity_event_overview                       403, 403   200, 200   200, 200
registry_activity_event_changelist                     403, 403   200, 302   200, 302
registry_activity_deadletter_(replay|dismiss)          403, 403   403, 403   302, 302
registry_activity_deadletter_download                  403, 403   200, 200   200, 200
registry_activity_(deadletter|import|archive)_changelist  403, 403   200, 200   200, 302
{READ_ONLY}_changelist                                 403, 403   200, 200   200, 200
{READ_ONLY}_history                                    403, 403   200, 200   200, 200
{READ_ONLY}_change                                     403, 403   200, 403   200, 403
{READ_ONLY}_(add|delete)                               403, 403   403, 403   403, 403
registry_activity_run_(stop|resume)                    302, 302   302, 302   302, 302

registry_activity_autodeletion_(start|cancel)          302, 302   302, 302   302, 302
registry_repositories_registrysettings_change(list)?   403, 403   200, 403   200, 302
{SINGLETON}_change(list)?                              403, 403   200, 403   200, 200
{SINGLETON}_history                                    403, 403   200, 200   200, 200
{SINGLETON}_(add|delete)                               403, 403   403, 403   403, 403

registry_activity_deletionrule_applicable                302, 302   200, 200   200, 200
registry_activity_registry_add                         403, 403   403, 403   403, 403
registry_repositories_repository_access                403, 403   200, 200   200, 200
registry_repositories_user_access                      403, 403   200, 403   200, 404
auth_user_password_change                              403, 403   403, 403   200, 200
.*_permissions                                         302, 302   302, 302   200, 200
.*_permissions_manage_(user|group)                     302, 302   302, 302   200, 302
registry_repositories_namespace_changelist             403, 403   200, 200   200, 200
registry_repositories_namespace_delete                 403, 403   403, 403   200, 200
{EDITABLE}_changelist                                  403, 403   200, 200   200, 302
{EDITABLE}_history                                     403, 403   200, 200   200, 200
{EDITABLE}_change                                      403, 403   200, 403   200, 200
{EDITABLE}_add                                         403, 403   403, 403   200, 200
{EDITABLE}_delete                                      403, 403   403, 403   200, 302

auth_group_(changelist|history)                        403, 403   200, 200   200, 200
auth_group_change                                      403, 403   200, 403   200, 403
auth_group_(add|delete)                                403, 403   403, 403   403, 403

registry_activity_dispute_delete                       403, 403   403, 403   403, 403
{IMMUTABLE}_change                                     403, 403   200, 403   200, 403
{OTHERS}_changelist                                    403, 403   200, 200   200, 302
{OTHERS}_history                                       403, 403   200, 200   200, 200
{OTHERS}_change                                        403, 403   200, 403   200, 200
{OTHERS}_add                                           403, 403   403, 403   200, 200
{OTHERS}_delete                                        403, 403   403, 403   200, 302
"""


def expected(name: str, role: str) -> tuple[str, str]:
    """Return the statuses that a role gets for GET and POST requests. Fail if the URL has no row."""
    get, post = row_for(name)[1 + STAFF.index(role)].split(", ")
    return get, post


def row_for(name: str) -> list[str]:
    """Return the first table row that matches the name of a URL."""
    for row in table_rows():
        if re.fullmatch(row[0], name):
            return row
    raise AssertionError(f"No row of the table matches the URL name {name}.")


def table_rows() -> list[list[str]]:
    """Return the cells of each row of the table."""
    return [re.split(r"\s{2,}", line) for line in TABLE.splitlines()[4:] if line]


# --- The admin URLs -----------------------------------------------------------------------------


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


def outcome(response: Any) -> str:
    """Return the status code as text, or `LOGIN` if the response redirects to a login page."""
    if response.status_code == 302 and re.match("/(admin|accounts)/login/[?]", response["Location"]):
        return LOGIN
    return str(response.status_code)


def send_request(
    client: Client, method: str, path: str, row: Any, action: str = "delete_selected"
) -> tuple[str, list[str]]:
    """Send a request, roll back its changes, and return its outcome and the SQL that changed data."""
    form = {"action": action, "_selected_action": row.pk, "index": "0", "post": "yes"}
    cookies = client.cookies.copy()  # a logout would clear the cookies
    with rolled_back(), CaptureQueriesContext(connection) as captured:
        response: Any = client.get(path) if method == "get" else client.post(path, form)
        list(response.streaming_content if response.streaming else ())
    client.cookies = SimpleCookie(cookies)
    changes = [query["sql"] for query in captured if re.match("INSERT|UPDATE|DELETE", query["sql"])]
    return outcome(response), [sql for sql in changes if not IGNORED_CHANGES.search(sql)]


IGNORED_CHANGES = re.compile(
    "django_session|registry_repositories_login|auth_user.*last_login|registry_activity_event|registry_activity_tallychange"
)
"""Matches changes to ignore: sessions, last login times, recorded events, and event tallies."""


# --- The tests ----------------------------------------------------------------------------------


@pytest.fixture
def data(db: None) -> SampleData:
    return SampleData()


@pytest.mark.parametrize("role", OUTSIDERS)
def test_users_who_are_not_staff_are_redirected_to_the_login_page(data: SampleData, role: str) -> None:
    client = data.client(role)
    for url in admin_urls():
        for method in ("get", "post"):
            result, changes = send_request(client, method, data.path(url), data.row(url))
            if url.name == "logout":
                assert result in (LOGIN, "302"), role
            else:
                assert (url.name, result) == (url.name, "200" if url.name == "login" else LOGIN)
            assert changes == []


@pytest.mark.long
@pytest.mark.parametrize("role", STAFF)
def test_statuses_for_staff_match_the_table(data: SampleData, role: str) -> None:
    client, wrong = data.client(role), []
    for url in admin_urls():
        results = [send_request(client, method, data.path(url), data.row(url)) for method in ("get", "post")]
        statuses = tuple(status for status, _ in results)
        if statuses != expected(url.name, role):
            wrong.append(f"{url.route}: {statuses}")
        if role != "MSR admin":
            assert [changes for _, changes in results] == [[], []], url

    assert wrong == []


def test_admin_actions_of_auditors_change_nothing(data: SampleData) -> None:
    client = data.client("auditor")
    for url in admin_urls():
        if not url.name.endswith("_changelist"):
            continue
        model_admin: Any = admin.site.get_model_admin(url.model)
        for _, action, _ in model_admin._get_base_actions():
            _, changes = send_request(client, "post", data.path(url), data.row(url), action)
            assert (url.name, action, changes) == (url.name, action, [])


def test_every_row_of_the_table_matches_an_admin_url() -> None:
    used = {row_for(url.name)[0] for url in admin_urls()}

    assert [row[0] for row in table_rows() if row[0] not in used] == []
