"""Every role gets the expected status for GET and POST requests to every admin URL.

The tests take the URLs from Django's URL resolver. They fail if a URL has no row in the table, or if a row
matches no URL. When you add a page, add a row. When you add a model, also create an instance in
`admin_urls.SampleData`.
"""

from __future__ import annotations

import re
from http.cookies import SimpleCookie
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.admin_urls import SampleData, admin_urls
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


# --- Requests -----------------------------------------------------------------------------------


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
