"""The pages of repositories: the list, making one by hand, and the tabs Info and Settings."""

from __future__ import annotations

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

PLACE = "/repositories/acme/web/"
TABS = re.compile(r'<nav class="tabs".*?</nav>', re.DOTALL)


def text(client: Client, url: str, **query: Any) -> str:
    response = client.get(url, query)
    assert response.status_code == 200
    return " ".join(re.sub("<[^>]*>", " ", response.content.decode()).split())


def owner_of(organization: Any) -> Any:
    user = factories.UserFactory()
    Membership.objects.create(organization=organization, user=user, role=Membership.Role.OWNER)
    return user


PEOPLE = {
    "outsider": lambda web: factories.UserFactory(),
    "member": lambda web: (
        factories.team_of(web.namespace.organization, user := factories.UserFactory()) and user
    ),
    "sees pushes": lambda web: factories.user_with("view_push_events", web),
    "reader": lambda web: factories.user_with("level_read", web),
    "repoadmin": lambda web: factories.user_with("level_admin", web),
    "owner": lambda web: owner_of(web.namespace.organization),
    "auditor": lambda web: factories.auditor(),
    "admin": lambda web: factories.msr_admin(),
}


@pytest.fixture
def client_of(log_in: Any, web: Repository) -> Any:
    return lambda who: Client() if who == "anonymous" else log_in(PEOPLE[who](web))


@pytest.mark.parametrize(
    ("who", "info", "settings"),
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
class TestWhoMayOpen:
    def test_tabs(self, client_of: Any, who: str, info: int, settings: int) -> None:
        client = client_of(who)

        assert client.get(f"{PLACE}info/").status_code == info
        assert client.get(f"{PLACE}settings/").status_code == settings
        change = {"change": "", "visibility": "public", "description": "Mine now"}
        changed = client.post(f"{PLACE}settings/", change)
        assert (changed.status_code == 302 and who != "anonymous") == (settings == 200)
        assert (Repository.objects.get().visibility == "public") == (settings == 200)

    def test_linked_tabs_are_those_that_open(
        self, client_of: Any, who: str, info: int, settings: int
    ) -> None:
        client = client_of(who)
        response = client.get(f"{PLACE}activity/")
        if response.status_code != 200:
            return
        links = re.findall('href="([^"]+)"', TABS.findall(response.content.decode())[0])

        assert f"{PLACE}activity/" in links
        assert (f"{PLACE}info/" in links, f"{PLACE}settings/" in links) == (info == 200, settings == 200)
        assert [client.get(link).status_code for link in links] == [200] * len(links)

    def test_deleting(self, client_of: Any, who: str, info: int, settings: int) -> None:
        client_of(who).post(f"{PLACE}settings/", {"delete": "", "confirmation": "acme/web"})

        assert Repository.objects.live().exists() != (settings == 200)


class TestTabs:
    def test_come_in_the_usual_order(self, client_of: Any) -> None:
        html = client_of("repoadmin").get(f"{PLACE}info/").content.decode()

        labels = re.findall(r">(\w+)</a>", TABS.findall(html)[0])
        usual = ["Info", "Tags", "Activity", "Promotions", "Mirrors", "Pruning", "Permissions", "Settings"]
        assert labels == [label for label in usual if label in labels]
        assert {"Info", "Activity", "Settings"} <= set(labels)

    @pytest.mark.parametrize(
        ("who", "target"), [("reader", f"{PLACE}info/"), ("sees pushes", f"{PLACE}activity/")]
    )
    def test_bare_address_leads_to_the_first_that_one_may_open(
        self, client_of: Any, who: str, target: str
    ) -> None:
        assert client_of(who).get(PLACE)["Location"] == target

    @pytest.mark.parametrize(
        "name", ["alpine", "acme/team/web", "acme/web/info", "acme/web/tags", "acme/new"]
    )
    def test_last_segment_decides(self, log_in: Any, name: str) -> None:
        row = factories.repository(name, public=True)
        place = f"/repositories/{row.namespace.name}/{row.name}"
        client = log_in(factories.UserFactory())

        assert f"docker pull localhost:5000/{name}" in text(client, f"{place}/info/")
        assert client.get(f"{place}/activity/").status_code == 200
        assert client.get(f"{place}/nothing/").status_code == 404

    def test_hidden_and_missing_ones_answer_alike(self, log_in: Any, web: Repository) -> None:
        outsider = log_in(factories.UserFactory())

        def answer(name: str, tab: str) -> tuple:
            with CaptureQueriesContext(connection) as queries:
                response = outsider.get(f"/repositories/acme/{name}/{tab}")
            body = re.sub(r'value="\w{64}"', "", response.content.decode())
            return response.status_code, body, len(queries)

        for tab in ("", "info/", "tags/", "settings/", "permissions/"):
            assert answer("web", tab) == answer("none", tab)
            assert answer("web", tab)[0] == 404

    def test_odd_names_are_not_found(self, log_in: Any) -> None:
        assert log_in(factories.UserFactory()).get("/repositories/acme/we%00b/info/").status_code == 404


class TestInfo:
    def test_shows_hostile_descriptions_as_text(self, client_of: Any) -> None:
        Repository.objects.update(description="First line\nsecond <script>alert(1)</script>")

        html = client_of("reader").get(f"{PLACE}info/").content.decode()

        assert "First line<br>second &lt;script&gt;alert(1)" in html

    def test_tells_how_to_push_those_who_may(self, client_of: Any, settings: Any) -> None:
        settings.REGISTRY_HOST = "registry.example.com"

        assert "docker push registry.example.com/acme/web:TAG" in text(
            client_of("repoadmin"), f"{PLACE}info/"
        )
        assert "docker push" not in text(client_of("reader"), f"{PLACE}info/")


class TestSettings:
    def test_are_saved(self, client_of: Any, web: Repository) -> None:
        client = client_of("repoadmin")

        change = {"change": "", "visibility": "public", "description": "What it is for"}
        response = client.post(f"{PLACE}settings/", change, follow=True)

        assert "Saved." in response.content.decode()
        web.refresh_from_db()
        assert (web.visibility, web.description) == ("public", "What it is for")

    def test_that_make_no_sense_are_told_of(self, client_of: Any, web: Repository) -> None:
        html = text(client_of("repoadmin"), f"{PLACE}settings/")
        assert "acme/web" in html

        response = client_of("repoadmin").post(f"{PLACE}settings/", {"change": "", "visibility": "secret"})

        assert "is not one of the available choices" in response.content.decode()
        web.refresh_from_db()
        assert web.visibility == "private"

    def test_delete_only_what_was_named(self, client_of: Any) -> None:
        client = client_of("repoadmin")

        wrong = client.post(f"{PLACE}settings/", {"delete": "", "confirmation": "acme/wed"})
        assert "The name does not match." in wrong.content.decode()
        assert Repository.objects.live().exists()

        right = client.post(f"{PLACE}settings/", {"delete": "", "confirmation": "acme/web"}, follow=True)
        assert "acme/web was deleted." in right.content.decode()
        event = Event.objects.get(kind="delete_repository")
        assert event.actor_user is not None

    def test_need_the_forms_token(self, log_in: Any, web: Repository) -> None:
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(factories.user_with("level_admin", web))

        assert strict.post(f"{PLACE}settings/", {"delete": "", "confirmation": "acme/web"}).status_code == 403


class TestList:
    def test_is_narrowed_to_a_namespace(self, log_in: Any, web: Repository) -> None:
        factories.repository("acme/docs", public=True)
        factories.repository("acmes/docs", public=True)
        client = log_in(factories.UserFactory())

        html = text(client, "/repositories/", namespace="acme")

        assert ("acme/docs" in html, "acmes/docs" in html) == (True, False)
        # A hidden namespace answers like one that isn't there, but for its name.
        hidden, missing = (
            text(client, "/repositories/", namespace=name, q="web").replace(name, "…")
            for name in ("acme", "none")
        )
        assert hidden == missing

    def test_that_is_empty_tells_how_to_push(self, log_in: Any, web: Repository) -> None:
        html = text(log_in(factories.UserFactory(username="jane")), "/repositories/")

        assert "docker push localhost:5000/jane/NAME:TAG" in html

    @pytest.mark.parametrize(
        "query", [{"q": "\0"}, {"namespace": "a\0b"}, {"cursor": "\0"}, {"q": "%" * 300}]
    )
    def test_takes_odd_queries(self, log_in: Any, query: dict[str, str]) -> None:
        assert log_in(factories.UserFactory()).get("/repositories/", query).status_code == 200

    def test_hides_visibility_from_those_who_see_events_of_a_category_alone(self, client_of: Any) -> None:
        Repository.objects.update(description="What it is for")

        html = text(client_of("sees pushes"), "/repositories/")

        assert "acme/web" in html
        assert not re.search("(?i)private|what it is for", html)


class TestLastActivity:
    @pytest.mark.parametrize("folded", [True, False])
    def test_is_that_which_the_viewer_may_see(self, client_of: Any, web: Repository, folded: bool) -> None:
        days = {"update_tag": 1, "promote": 2, "get_tag": 3}
        for kind, day in days.items():
            moment = factories.NOON.replace(day=day)
            factories.record(kind, web, tag="v1", digest=factories.DIGEST, occurred_at=moment)
        if folded:
            tallies.fold()

        shown = {
            who: text(client_of(who), "/repositories/")
            for who in ("reader", "sees pushes", "repoadmin", "auditor")
        }

        assert {who: re.findall(r"Last activity (.*?20\d\d)", html)[0] for who, html in shown.items()} == {
            "reader": "Nov 1, 2026",
            "sees pushes": "Nov 1, 2026",
            "repoadmin": "Nov 3, 2026",
            "auditor": "Nov 3, 2026",
        }

    def test_is_not_told_where_nothing_can_be_seen(self, client_of: Any, web: Repository) -> None:
        factories.record("get_tag", web, tag="v1", digest=factories.DIGEST)

        assert "Last activity" not in text(client_of("reader"), "/repositories/")

    def test_takes_as_many_queries_for_many_repositories(self, log_in: Any, web: Repository) -> None:
        person = factories.user_with("level_admin", web)
        client = log_in(person)

        def count() -> int:
            with CaptureQueriesContext(connection) as queries:
                text(client, "/repositories/")
            return len(queries)

        factories.record(repository=web)
        few = count()
        for number in range(30):
            row = factories.repository(f"org{number}y/app", public=number % 2 == 0)
            factories.assign_perm(["level_read", "view_push_events", "level_admin"][number % 3], person, row)
            factories.record(repository=row)

        assert count() == few


NEW = "/repositories/new/"


def create(client: Client, namespace: str, name: str = "app", **values: str) -> Any:
    data = {"namespace": namespace, "name": name, "visibility": "private", **values}
    return client.post(NEW, data)


class TestCreating:
    @pytest.mark.parametrize(
        ("who", "may"),
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
    def test_is_for_those_who_administer_the_namespace(self, client_of: Any, who: str, may: bool) -> None:
        client = client_of(who)
        if who != "anonymous":
            assert client.get(NEW).status_code == 200

        create(client, "acme")

        assert Repository.objects.named("acme/app").exists() == may

    def test_is_for_those_to_whom_its_admin_level_was_granted(self, log_in: Any, web: Repository) -> None:
        for level, may in (("level_read_write", False), ("level_admin", True)):
            create(log_in(factories.user_with(level, web.namespace)), "acme")
            assert Repository.objects.named("acme/app").exists() == may

    def test_in_ones_own_namespace_is_recorded(self, log_in: Any) -> None:
        client = log_in(factories.UserFactory(username="jane"))

        response = create(client, "jane", "team/app", description="Mine")

        assert response["Location"] == "/repositories/jane/team/app/info/"
        event = Event.objects.get(kind="create_repository")
        assert (event.repository_name, event.actor_name) == ("jane/team/app", "jane")

    def test_tells_nothing_of_namespaces_that_one_may_not_use(self, log_in: Any, web: Repository) -> None:
        factories.UserFactory(username="joe")
        Namespace.objects.create(name="unclaimed")
        client = log_in(factories.UserFactory())

        def answer(namespace: str) -> tuple:
            with CaptureQueriesContext(connection) as queries:
                response = create(client, namespace, "web")
            body = re.sub(r'value="\w{64}"', "", response.content.decode()).replace(namespace, "…")
            return response.status_code, body, len(queries)

        assert answer("acme") == answer("none") == answer("joe") == answer("unclaimed")
        assert create(client, "_", "web").status_code == 200
        assert not Repository.objects.exclude(pk=web.pk).exists()
        assert "There is no namespace with this name" in answer("acme")[1]

    @pytest.mark.parametrize("name", ["App", "a//b", "/a", "a b", "a" * 300, "é", "\0", ""])
    def test_needs_a_name_that_registries_have(self, log_in: Any, name: str) -> None:
        response = create(log_in(factories.UserFactory(username="jane")), "jane", name)

        assert (response.status_code, Repository.objects.count()) == (200, 0)
        assert "errorlist" in response.content.decode()

    @pytest.mark.parametrize("namespace", ["Jane", "\0", "", "j" * 150])
    def test_needs_a_namespace_that_registries_have(self, log_in: Any, namespace: str) -> None:
        client = log_in(factories.UserFactory(username=namespace if namespace.isalpha() else "joe"))

        response = create(client, namespace, "a" * 110)

        assert (response.status_code, Repository.objects.count()) == (200, 0)

    def test_of_what_is_there_is_refused_in_clear_words(self, log_in: Any, web: Repository) -> None:
        response = create(log_in(owner_of(web.namespace.organization)), "acme", "web")

        assert "already has a repository with that name" in response.content.decode()

    def test_takes_the_name_of_a_deleted_one(self, log_in: Any, web: Repository) -> None:
        web.delete()

        assert create(log_in(owner_of(web.namespace.organization)), "acme", "web").status_code == 302
