"""The repository pages: the list, the form to create a repository, and the Info and Settings tabs."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from activity.models import Event
from activity.storage import tallies
from repositories.models import Membership, Namespace, Repository
from tests import factories

WEB = "/repositories/acme/web/"
TABS = re.compile(r'<nav class="tabs".*?</nav>', re.DOTALL)


def page_text(client: Client, url: str, **query: Any) -> str:
    """Return the text of a page without its markup."""
    response = client.get(url, query)
    assert response.status_code == 200
    return " ".join(re.sub("<[^>]*>", " ", response.content.decode()).split())


def create_owner(organization: Any) -> Any:
    user = factories.UserFactory()
    Membership.objects.create(organization=organization, user=user, role=Membership.Role.OWNER)
    return user


def test_repositories_are_listed_by_full_name(admin: Client) -> None:
    for name in ("acme/web", "alpine", "acme-x/api", "zoo/a", "acme/team/api", "busybox"):
        factories.repository(name)
    listed: list[str] = []
    url = "/api/v0/repositories/?page_size=2"
    while url:
        answer = admin.get(url).json()
        listed += [repository["name"] for repository in answer["results"]]
        url = answer["next"]

    assert listed == list(Repository.objects.order_by("full_name").values_list("full_name", flat=True))
    rows = admin.get("/repositories/").context["rows"]
    assert [row["repository"].full_name for row in rows] == listed


def test_page_of_repositories_is_read_from_the_index_on_names(db: None) -> None:
    listed = factories.SEES_EVERYTHING.repositories().order_by("full_name")
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":  # which would sort a table as small as this one
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_sort = off")

    for rows in (listed, listed.filter(full_name__gt="acme/web")):
        plan = rows[:51].explain()
        assert "one_live_repository_of_a_name" in plan
        assert "TEMP B-TREE" not in plan
        assert "Sort" not in plan


USER_FACTORIES = {
    "outsider": lambda web: factories.UserFactory(),
    "member": lambda web: (
        factories.team_of(web.namespace.organization, user := factories.UserFactory()) and user
    ),
    "sees pushes": lambda web: factories.user_with("view_push_events", web),
    "reader": lambda web: factories.user_with("level_read", web),
    "repoadmin": lambda web: factories.user_with("level_admin", web),
    "owner": lambda web: create_owner(web.namespace.organization),
    "auditor": lambda web: factories.auditor(),
    "admin": lambda web: factories.msr_admin(),
}


@pytest.fixture
def client_for(log_in: Any, web: Repository) -> Any:
    """Return a function that creates a user with a role and returns their client."""
    return lambda role: Client() if role == "anonymous" else log_in(USER_FACTORIES[role](web))


@pytest.mark.parametrize(
    ("role", "info", "settings"),
    [
        ("anonymous", 302, 302),
        ("outsider", 404, 404),
        ("member", 404, 404),
        ("sees pushes", 404, 404),
        ("reader", 200, 404),
        ("repoadmin", 200, 200),
        ("owner", 200, 200),
        ("auditor", 200, 404),
        ("admin", 200, 200),
    ],
)
class TestAccess:
    def test_info_tab_requires_read_access_and_settings_tab_requires_admin_access(
        self, client_for: Any, role: str, info: int, settings: int
    ) -> None:
        client = client_for(role)

        assert client.get(f"{WEB}info/").status_code == info
        assert client.get(f"{WEB}settings/").status_code == settings
        change = {"change": "", "visibility": "public", "description": "Mine now"}
        changed = client.post(f"{WEB}settings/", change)
        assert (changed.status_code == 302 and role != "anonymous") == (settings == 200)
        assert (Repository.objects.get().visibility == "public") == (settings == 200)

    def test_only_tabs_that_the_user_can_open_are_linked(
        self, client_for: Any, role: str, info: int, settings: int
    ) -> None:
        client = client_for(role)
        response = client.get(f"{WEB}activity/")
        if response.status_code != 200:
            return
        links = re.findall('href="([^"]+)"', TABS.findall(response.content.decode())[0])

        assert f"{WEB}activity/" in links
        assert (f"{WEB}info/" in links, f"{WEB}settings/" in links) == (info == 200, settings == 200)
        assert [client.get(link).status_code for link in links] == [200] * len(links)

    def test_repository_can_be_deleted_only_by_its_admins(
        self, client_for: Any, role: str, info: int, settings: int
    ) -> None:
        client_for(role).post(f"{WEB}settings/", {"delete": "", "confirmation": "acme/web"})

        assert Repository.objects.live().exists() != (settings == 200)


class TestTabs:
    def test_tabs_are_in_a_fixed_order(self, client_for: Any) -> None:
        html = client_for("repoadmin").get(f"{WEB}info/").content.decode()

        labels = re.findall(r">(\w+)</a>", TABS.findall(html)[0])
        order = ["Info", "Tags", "Activity", "Pulls", "Promotions", "Mirrors", "Pruning"]
        order += ["Permissions", "Settings"]
        assert labels == [label for label in order if label in labels]
        assert {"Info", "Activity", "Settings"} <= set(labels)

    @pytest.mark.parametrize(
        ("role", "target"), [("reader", f"{WEB}info/"), ("sees pushes", f"{WEB}activity/")]
    )
    def test_repository_url_redirects_to_the_first_tab_that_the_user_can_open(
        self, client_for: Any, role: str, target: str
    ) -> None:
        assert client_for(role).get(WEB)["Location"] == target

    @pytest.mark.parametrize(
        "name", ["alpine", "acme/team/web", "acme/web/info", "acme/web/tags", "acme/new"]
    )
    def test_last_url_segment_selects_the_tab(self, log_in: Any, name: str) -> None:
        repository = factories.repository(name, public=True)
        url = f"/repositories/{repository.namespace.name}/{repository.name}"
        client = log_in(factories.UserFactory())

        assert f"docker pull localhost:5000/{name}" in page_text(client, f"{url}/info/")
        assert client.get(f"{url}/activity/").status_code == 200
        assert client.get(f"{url}/nothing/").status_code == 404

    def test_hidden_repositories_look_like_missing_ones(self, log_in: Any, web: Repository) -> None:
        outsider = log_in(factories.UserFactory())

        def fetch(name: str, tab: str) -> tuple:
            with CaptureQueriesContext(connection) as queries:
                response = outsider.get(f"/repositories/acme/{name}/{tab}")
            body = re.sub(r'value="\w{64}"', "", response.content.decode())
            return response.status_code, body, len(queries)

        for tab in ("", "info/", "tags/", "settings/", "permissions/"):
            assert fetch("web", tab) == fetch("none", tab)
            assert fetch("web", tab)[0] == 404

    def test_repository_url_with_a_null_character_is_not_found(self, log_in: Any) -> None:
        assert log_in(factories.UserFactory()).get("/repositories/acme/we%00b/info/").status_code == 404


class TestInfo:
    def test_description_is_escaped(self, client_for: Any) -> None:
        Repository.objects.update(description="First line\nsecond <script>alert(1)</script>")

        html = client_for("reader").get(f"{WEB}info/").content.decode()

        assert "First line<br>second &lt;script&gt;alert(1)" in html

    def test_push_command_is_shown_only_to_users_who_can_push(self, client_for: Any, settings: Any) -> None:
        settings.REGISTRY_ACTIVITY = {"REGISTRY_HOST": "registry.example.com"}

        assert "docker push registry.example.com/acme/web:TAG" in page_text(
            client_for("repoadmin"), f"{WEB}info/"
        )
        assert "docker push" not in page_text(client_for("reader"), f"{WEB}info/")


class TestSettings:
    def test_repository_settings_are_saved(self, client_for: Any, web: Repository) -> None:
        client = client_for("repoadmin")

        change = {"change": "", "visibility": "public", "description": "Company website"}
        response = client.post(f"{WEB}settings/", change, follow=True)

        assert "Saved." in response.content.decode()
        web.refresh_from_db()
        assert (web.visibility, web.description) == ("public", "Company website")

    def test_invalid_repository_settings_are_rejected(self, client_for: Any, web: Repository) -> None:
        text = page_text(client_for("repoadmin"), f"{WEB}settings/")
        assert "acme/web" in text

        response = client_for("repoadmin").post(f"{WEB}settings/", {"change": "", "visibility": "secret"})

        assert "is not one of the available choices" in response.content.decode()
        web.refresh_from_db()
        assert web.visibility == "private"

    @pytest.mark.audited
    def test_deleting_a_repository_requires_its_name(self, client_for: Any) -> None:
        client = client_for("repoadmin")

        wrong = client.post(f"{WEB}settings/", {"delete": "", "confirmation": "acme/wed"})
        assert "The name does not match." in wrong.content.decode()
        assert Repository.objects.live().exists()

        right = client.post(f"{WEB}settings/", {"delete": "", "confirmation": "acme/web"}, follow=True)
        assert "acme/web was deleted." in right.content.decode()
        event = Event.objects.get(kind="delete_repository")
        assert event.actor_user is not None

    def test_repository_settings_require_a_csrf_token(self, log_in: Any, web: Repository) -> None:
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(factories.user_with("level_admin", web))

        assert strict.post(f"{WEB}settings/", {"delete": "", "confirmation": "acme/web"}).status_code == 403


class TestList:
    def test_repository_list_can_be_filtered_by_namespace(self, log_in: Any, web: Repository) -> None:
        factories.repository("acme/docs", public=True)
        factories.repository("acmes/docs", public=True)
        client = log_in(factories.UserFactory())

        text = page_text(client, "/repositories/", namespace="acme")

        assert ("acme/docs" in text, "acmes/docs" in text) == (True, False)
        # The pages for a hidden and a missing namespace are the same, except for the name.
        hidden, missing = (
            page_text(client, "/repositories/", namespace=name, q="web").replace(name, "…")
            for name in ("acme", "none")
        )
        assert hidden == missing

    def test_empty_repository_list_shows_the_push_command(self, log_in: Any, web: Repository) -> None:
        text = page_text(log_in(factories.UserFactory(username="jane")), "/repositories/")

        assert "docker push localhost:5000/jane/NAME:TAG" in text

    @pytest.mark.parametrize(
        "query",
        [
            {"q": "\0"},
            {"namespace": "a\0b"},
            {"cursor": "\0"},
            {"cursor": base64.urlsafe_b64encode(b'["n", "acme", "\\ud800"]').decode()},
            {"q": "%" * 300},
        ],
    )
    def test_repository_list_accepts_unusual_queries(self, log_in: Any, query: dict[str, str]) -> None:
        assert log_in(factories.UserFactory()).get("/repositories/", query).status_code in (200, 400)

    def test_repository_list_hides_details_from_users_without_read_access(self, client_for: Any) -> None:
        Repository.objects.update(description="Company website")

        text = page_text(client_for("sees pushes"), "/repositories/")

        assert "acme/web" in text
        assert not re.search("(?i)private|company website", text)


class TestLastActivity:
    @pytest.mark.parametrize("folded", [True, False])
    def test_last_activity_is_the_last_event_that_the_viewer_can_see(
        self, client_for: Any, web: Repository, folded: bool
    ) -> None:
        days = {"update_tag": 1, "promote": 2, "get_tag": 3}
        for kind, day in days.items():
            moment = factories.NOON.replace(day=day)
            factories.record(kind, web, tag="v1", digest=factories.DIGEST, occurred_at=moment)
        if folded:
            tallies.fold()

        texts = {
            role: page_text(client_for(role), "/repositories/")
            for role in ("reader", "sees pushes", "repoadmin", "auditor")
        }

        assert {role: re.findall(r"Last activity (.*?20\d\d)", text)[0] for role, text in texts.items()} == {
            "reader": "Nov 1, 2026",
            "sees pushes": "Nov 1, 2026",
            "repoadmin": "Nov 3, 2026",
            "auditor": "Nov 3, 2026",
        }

    def test_last_activity_is_not_shown_if_no_event_is_visible(
        self, client_for: Any, web: Repository
    ) -> None:
        factories.record("get_tag", web, tag="v1", digest=factories.DIGEST)

        assert "Last activity" not in page_text(client_for("reader"), "/repositories/")

    def test_repository_list_takes_a_constant_number_of_queries(self, log_in: Any, web: Repository) -> None:
        user = factories.user_with("level_admin", web)
        client = log_in(user)

        def count() -> int:
            with CaptureQueriesContext(connection) as queries:
                page_text(client, "/repositories/")
            return len(queries)

        factories.record(repository=web)
        few = count()
        for number in range(30):
            repository = factories.repository(f"org{number}y/app", public=number % 2 == 0)
            factories.assign_perm(
                ["level_read", "view_push_events", "level_admin"][number % 3], user, repository
            )
            factories.record(repository=repository)

        assert count() == few


NEW = "/repositories/new/"


def submit_new(client: Client, namespace: str, name: str = "app", **values: str) -> Any:
    data = {"namespace": namespace, "name": name, "visibility": "private", **values}
    return client.post(NEW, data)


class TestCreating:
    @pytest.mark.parametrize(
        ("role", "allowed"),
        [
            ("anonymous", False),
            ("outsider", False),
            ("member", False),
            ("reader", False),
            ("repoadmin", False),
            ("auditor", False),
            ("owner", True),
            ("admin", True),
        ],
    )
    def test_repository_can_be_created_only_by_namespace_admins(
        self, client_for: Any, role: str, allowed: bool
    ) -> None:
        client = client_for(role)
        if role != "anonymous":
            assert client.get(NEW).status_code == 200

        submit_new(client, "acme")

        assert Repository.objects.named("acme/app").exists() == allowed

    def test_repository_can_be_created_with_the_admin_level_on_the_namespace(
        self, log_in: Any, web: Repository
    ) -> None:
        for level, allowed in (("level_read_write", False), ("level_admin", True)):
            submit_new(log_in(factories.user_with(level, web.namespace)), "acme")
            assert Repository.objects.named("acme/app").exists() == allowed

    @pytest.mark.audited
    def test_creating_a_repository_is_recorded(self, log_in: Any) -> None:
        client = log_in(factories.UserFactory(username="jane"))

        response = submit_new(client, "jane", "team/app", description="Mine")

        assert response["Location"] == "/repositories/jane/team/app/info/"
        event = Event.objects.get(kind="create_repository")
        assert (event.repository_name, event.actor_name) == ("jane/team/app", "jane")

    def test_namespaces_of_others_look_like_missing_ones(self, log_in: Any, web: Repository) -> None:
        factories.UserFactory(username="joe")
        Namespace.objects.create(name="unclaimed")
        client = log_in(factories.UserFactory())

        def submit(namespace: str) -> tuple:
            with CaptureQueriesContext(connection) as queries:
                response = submit_new(client, namespace, "web")
            body = re.sub(r'value="\w{64}"', "", response.content.decode()).replace(namespace, "…")
            return response.status_code, body, len(queries)

        assert submit("acme") == submit("none") == submit("joe") == submit("unclaimed")
        assert submit_new(client, "_", "web").status_code == 200
        assert not Repository.objects.exclude(pk=web.pk).exists()
        assert "There is no namespace with this name" in submit("acme")[1]

    @pytest.mark.parametrize("name", ["App", "a//b", "/a", "a b", "a" * 300, "é", "\0", ""])
    def test_repository_cannot_be_created_with_an_invalid_name(self, log_in: Any, name: str) -> None:
        response = submit_new(log_in(factories.UserFactory(username="jane")), "jane", name)

        assert (response.status_code, Repository.objects.count()) == (200, 0)
        assert "errorlist" in response.content.decode()

    @pytest.mark.parametrize("namespace", ["Zoë", "\0", "", "j" * 150])
    def test_repository_cannot_be_created_in_an_invalid_namespace(self, log_in: Any, namespace: str) -> None:
        client = log_in(factories.UserFactory(username=namespace if namespace.isalpha() else "joe"))

        response = submit_new(client, namespace, "a" * 110)

        assert (response.status_code, Repository.objects.count()) == (200, 0)

    def test_creating_an_existing_repository_shows_an_error(self, log_in: Any, web: Repository) -> None:
        response = submit_new(log_in(create_owner(web.namespace.organization)), "acme", "web")

        assert "already has a repository with that name" in response.content.decode()

    def test_repository_can_be_created_with_the_name_of_a_deleted_one(
        self, log_in: Any, web: Repository
    ) -> None:
        web.delete()

        assert submit_new(log_in(create_owner(web.namespace.organization)), "acme", "web").status_code == 302


def test_admins_see_since_when_an_older_repository_is_known(client_for: Any, web: Repository) -> None:
    Repository.objects.update(created_at=None)

    assert "Known since" in page_text(client_for("admin"), f"{WEB}info/")
    assert "Known since" not in page_text(client_for("reader"), f"{WEB}info/")


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_cursor_with_a_time_beyond_the_calendar_is_invalid(
    client_for: Any, web: Repository, moment: str
) -> None:
    cursor = base64.urlsafe_b64encode(f'["n","{moment}","1"]'.encode()).decode().rstrip("=")

    assert client_for("admin").get("/repositories/", {"sort": "push", "cursor": cursor}).status_code == 200
