"""People find repositories and images by any reference, and the people who can give them access."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from repositories.models import Repository
from tests import factories
from tests.event_tables import column, get_page, get_refusal

DIGEST = factories.DIGEST
REFERENCES = [
    "acme/web",
    "registry.example.com/acme/web",
    "localhost:5000/acme/web:v1",
    "registry.example.com:5000/acme/web:v1",
    f"acme/web@{DIGEST}",
    f"docker://registry.example.com/acme/web:v1@{DIGEST}",
]
LIST = "/admin/registry_repositories/repository/"


@pytest.fixture
def images(web: Repository) -> Repository:
    """Two images in acme/web, and a repository with a similar name."""
    factories.record("update_tag", web, tag="v1", digest=DIGEST)
    factories.record("update_tag", web, tag="v2", digest=DIGEST.replace("b", "a"))
    factories.record("update_tag", factories.repository("acme/webshop"), tag="v1", digest=DIGEST)
    return web


@pytest.mark.parametrize("reference", REFERENCES)
class TestReferences:
    def test_admin_list_and_autocomplete_find_a_repository(
        self, admin: Client, images: Repository, reference: str
    ) -> None:
        factories.repository("globex/app")
        html = admin.get(LIST, {"q": reference}).content.decode()
        assert ">acme/web<" in html
        assert "globex/app" not in html

        field = {"app_label": "registry_activity", "model_name": "hold", "field_name": "repository"}
        found = admin.get("/admin/autocomplete/", {"term": reference, **field}).json()["results"]
        assert [each["text"] for each in found] == ["acme/web", "acme/webshop"]

    def test_list_of_repositories_finds_a_repository(
        self, admin: Client, images: Repository, reference: str
    ) -> None:
        factories.repository("globex/app")
        html = admin.get("/repositories/", {"q": reference}).content.decode()

        assert ">acme/web<" in html
        assert "globex/app" not in html

    @pytest.mark.parametrize("parameter", ["q", "repository", "tag"])
    def test_activity_lists_the_image(
        self, admin: Client, images: Repository, reference: str, parameter: str, settings: Any
    ) -> None:
        host = "registry.example.com" + (":5000" if "com:5000" in reference else "")
        if "localhost" not in reference:
            settings.REGISTRY_ACTIVITY = {**settings.REGISTRY_ACTIVITY, "REGISTRY_HOST": host}
        if parameter == "tag" and ":v1" not in reference:
            pytest.skip("A repository by itself is not a tag.")
        html = get_page(admin, "/activity/", **{parameter: reference})

        expected = ["acme/web:v1"] if ":" in reference else ["acme/web:v2", "acme/web:v1"]
        assert column(html, "Tag") == expected

    def test_admin_search_lists_the_image(self, admin: Client, images: Repository, reference: str) -> None:
        html = admin.get("/admin/registry_activity/event/", {"q": reference}).content.decode()

        assert "acme/webshop" not in html
        assert (">v1<" in html, ">v2<" in html) == (True, ":" not in reference)


class TestFilters:
    def test_site_filters_by_category_and_digest(self, admin: Client, images: Repository) -> None:
        factories.record("delete_tag", images, tag="v1")

        def tags(**query: str) -> list[str]:
            return column(get_page(admin, "/activity/", **query), "Tag")

        assert tags(category="delete") == ["acme/web:v1"]
        assert tags(digest="bbf0", repository="acme/web") == ["acme/web:v1"]
        assert tags(digest=DIGEST) == ["acme/webshop:v1", "acme/web:v1"]

    @pytest.mark.parametrize("actor", ["Kate", "KATE", "prOmotion ca5e7822", "ca5e7822"])
    def test_actor_is_found_in_any_case_as_by_the_search(
        self, admin: Client, images: Repository, actor: str
    ) -> None:
        factories.record("delete_tag", images, tag="by-kate", actor_name="kate")
        factories.PolicyFactory(repository=images, public_id="CA5E7822")
        factories.record("promote", images, tag="by-policy", actor_type="promotion", actor_name="CA5E7822")

        found = [f"acme/web:by-{'kate' if actor.lower() == 'kate' else 'policy'}"]
        assert column(get_page(admin, "/activity/", actor=actor), "Tag") == found
        assert column(get_page(admin, "/activity/", q=f'actor:"{actor}"'), "Tag") == found
        (event,) = admin.get("/api/v0/events/", {"actor": actor}).json()["results"]
        assert [event["tag"]] == found

    @pytest.mark.parametrize(
        "query",
        [
            {"category": "none"},
            {"digest": "xyz"},
            {"repository": "acme/web:v1", "tag": "v2"},
            {"tag": "acme/webshop:v1", "repository": "acme/web"},
            {"digest": DIGEST, "repository": f"acme/web@{DIGEST.replace('b', 'a')}"},
            {"digest": DIGEST, "q": "digest:aaf0"},
        ],
    )
    def test_contradictory_or_unknown_filters_show_nothing(
        self, admin: Client, images: Repository, query: dict[str, str]
    ) -> None:
        html = get_refusal(admin, "/activity/", **query)

        assert 'id="problems"' in html
        assert column(html, "Tag") == []

    def test_categories_that_a_viewer_never_sees_are_not_offered(self, reader: Client, admin: Client) -> None:
        def offers(client: Client) -> list[bool]:
            html = client.get("/activity/").content.decode()
            return [f'<option value="{name}"' in html for name in ("push", "pull", "system")]

        assert offers(reader) == [True, False, False]
        assert offers(admin) == [True, True, True]


class TestPullsByDefault:
    def test_someone_who_sees_only_pulls_sees_them_by_default(self, log_in: Any, images: Repository) -> None:
        factories.record("get_tag", images, tag="v1")
        factories.record("update_tag", factories.repository("acme/docs", public=True), tag="v3")
        client = log_in(factories.user_with("view_pull_events", images))

        for url in ("/activity/", "/repositories/acme/web/activity/"):
            assert "acme/web:v1" in column(get_page(client, url), "Tag")
            assert "acme/web:v1" not in column(get_page(client, url, exclude_pull="true"), "Tag")

    def test_others_see_no_pulls_by_default(self, repoadmin: Client, images: Repository) -> None:
        factories.record("get_tag", images, tag="v9")

        for url in ("/activity/", "/repositories/acme/web/activity/"):
            assert "acme/web:v9" not in column(get_page(repoadmin, url), "Tag")


class TestWhomToAsk:
    @pytest.fixture
    def owner(self, web: Repository) -> Any:
        owner = factories.UserFactory(username="olga")
        factories.add_member(web.namespace.organization, owner, "owner")
        return owner

    @pytest.mark.parametrize(
        "path",
        ["/repositories/acme/web/activity/", "/repositories/acme/none/", "/organizations/acme/"],
    )
    def test_member_is_told_whom_to_ask(self, log_in: Any, web: Repository, owner: Any, path: str) -> None:
        member = factories.UserFactory()
        factories.add_member(web.namespace.organization, member)

        assert ">olga</a>" in log_in(member).get(path).content.decode()

    def test_nobody_else_learns_the_owners(self, log_in: Any, owner: Any) -> None:
        for path in ("/repositories/acme/web/activity/", "/organizations/acme/", "/nowhere/"):
            assert "olga" not in log_in(factories.UserFactory()).get(path).content.decode()

    def test_deactivated_owner_is_not_named(self, log_in: Any, web: Repository, owner: Any) -> None:
        owner.is_active = False
        owner.save()
        member = factories.UserFactory()
        factories.add_member(web.namespace.organization, member)

        page = log_in(member).get("/repositories/acme/web/activity/")
        assert page.status_code == 404
        assert "olga" not in page.content.decode()
