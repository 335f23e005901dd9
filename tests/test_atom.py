"""The Atom feeds of activity pages: their contents, and access with a token."""

from __future__ import annotations

import base64
import re
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest
from django.test import Client

from repositories.models import Repository, RepositoryUserPermission
from tests import factories
from tests.event_tables import get_page

ATOM = "{http://www.w3.org/2005/Atom}"


@pytest.fixture
def client(log_in: Any, person: Any) -> Client:
    return log_in(person)


class TestAtom:
    URLS = ["/activity/atom/", "/repositories/acme/web/activity/atom/", "/organizations/acme/activity/atom/"]

    @staticmethod
    def basic_auth(name: str, password: str) -> dict[str, str]:
        return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}

    @pytest.mark.parametrize("url", URLS)
    def test_atom_feed_contains_only_visible_events(self, person: Any, web: Repository, url: str) -> None:
        event = factories.record("update_tag", web, tag="v1", actor_name="a\x0b<b>")
        factories.record("get_tag", web, tag="v1")

        response = Client().get(url, headers=self.basic_auth(person.username, factories.new_token(person)))

        assert response["Content-Type"].startswith("application/atom+xml")
        (entry,) = ElementTree.fromstring(response.content).iter(f"{ATOM}entry")
        assert entry.findtext(f"{ATOM}title") == "Update Tag acme/web:v1"
        assert entry.findtext(f"{ATOM}id") == f"urn:uuid:{event.pk}"
        assert entry.findtext(f"{ATOM}author/{ATOM}name") == "a\\x0b<b>"
        link = entry.find(f"{ATOM}link")
        assert link is not None
        assert link.attrib["href"] == f"http://testserver/events/{event.pk}/"

    def test_feed_of_a_user_with_any_name_is_valid(self, admin: Client) -> None:
        factories.UserFactory(username="a\x0b<b>")

        feed = ElementTree.fromstring(admin.get("/users/a%0B%3Cb%3E/atom/").content)

        assert feed.findtext(f"{ATOM}title") == "Registry activity: a<b>"

    def test_atom_entry_links_to_the_page_of_the_event(self, client: Client, web: Repository) -> None:
        for tag in ("v1", "v2"):
            factories.record("update_tag", web, tag=tag)
        feed = ElementTree.fromstring(client.get("/activity/atom/").content)

        hrefs = [link.attrib["href"] for link in feed.iterfind(f"{ATOM}entry/{ATOM}link")]

        pages = [get_page(client, urlsplit(href).path) for href in hrefs]
        assert [re.findall("<dt>Tag</dt><dd>(.*?)</dd>", page) for page in pages] == [
            ["acme/web:v2"],
            ["acme/web:v1"],
        ]

    @pytest.mark.parametrize("url", [*URLS, "/users/jane/atom/"])
    def test_atom_feed_requires_the_token_of_the_user(self, person: Any, url: str) -> None:
        person.set_password("a-long-pass")
        person.save()
        token, other = factories.new_token(person), factories.new_token(factories.UserFactory())

        for headers in (
            {},
            self.basic_auth(person.username, "a-long-pass"),
            self.basic_auth(person.username, other),
            self.basic_auth("jane", token),
            {"authorization": "Basic nonsense"},
            {"authorization": "Basic " + base64.b64encode(b"\xff\0").decode()},
        ):
            response = Client().get(url, headers=headers)
            assert (response.status_code, response["WWW-Authenticate"][:5]) == (401, "Basic")
        assert Client().get(url, {"token": token}).status_code == 401

    def test_atom_feed_is_sent_again_only_if_it_has_changed(self, person: Any, web: Repository) -> None:
        factories.record("update_tag", web, tag="v1")
        headers = self.basic_auth(person.username, factories.new_token(person))

        def poll(etag: str = "") -> Any:
            return Client().get("/activity/atom/", headers={**headers, "if-none-match": etag})

        first = poll()
        again = poll(first["ETag"])
        assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])
        assert again["Cache-Control"] == first["Cache-Control"]

        factories.record("update_tag", web, tag="v2")
        newer = poll(first["ETag"])
        assert (newer.status_code, newer.content.count(b"<entry>")) == (200, 2)

        for grant in RepositoryUserPermission.objects.filter(user=person):
            grant.delete()
        hidden = poll(newer["ETag"])
        assert (hidden.status_code, hidden.content.count(b"<entry>")) == (200, 0)

        person.access_tokens.get().delete()
        assert poll(newer["ETag"]).status_code == 401

    def test_atom_feed_is_denied_after_the_token_is_revoked(self, client: Client, person: Any) -> None:
        headers = self.basic_auth(person.username, factories.new_token(person))
        assert Client().get("/activity/atom/", headers=headers).status_code == 200

        client.post(f"/settings/tokens/{person.access_tokens.get().pk}/revoke/")

        assert Client().get("/activity/atom/", headers=headers).status_code == 401
