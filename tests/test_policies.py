"""Policies: who may see and edit them, what they must say, and what their pages tell."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from activity.models import Event
from activity.views import policies
from repositories.models import Policy, Repository
from tests import factories

WEB = "/repositories/acme/web/"
KINDS = {
    "promotion": {"target": "acme/production", "tag_template": "%n"},
    "push_mirroring": {
        "remote_registry": "https://mirror.example.com:5000",
        "remote_repository": "acme/web",
        "tag_template": "%n-%Y%m%d",
    },
    "pull_mirroring": {
        "remote_registry": "https://hub.example.com",
        "remote_repository": "library/web",
        "interval": "24",
    },
    "pruning": {},
}
TABS = {
    "promotion": "promotions",
    "push_mirroring": "mirrors",
    "pull_mirroring": "mirrors",
    "pruning": "pruning",
}


@pytest.fixture
def production(web: Repository) -> Repository:
    return factories.repository("acme/production")


@pytest.fixture
def repoadmin(log_in: Any, web: Repository, production: Repository) -> Client:
    """The browser of one who administers acme/web, and may push to acme/production."""
    person = factories.user_with("level_admin", web)
    factories.assign_perm("level_read_write", person, production)
    return log_in(person)


def sent(*criteria: tuple[str, str], stored: Any = None, **fields: str) -> dict[str, str]:
    """Return what a browser sends: a policy's fields, and its criteria instead of those stored."""
    old = list(stored.criteria.all()) if stored else []
    rows = [{"operator": c.operator, "value": c.value, "id": str(c.pk), "DELETE": "on"} for c in old]
    rows += [{"operator": operator, "value": value} for operator, value in criteria]
    data = {"enabled": "on", "criteria-TOTAL_FORMS": str(len(rows)), "criteria-INITIAL_FORMS": str(len(old))}
    for number, row in enumerate(rows):
        data |= {f"criteria-{number}-{name}": text for name, text in row.items()}
    return {**data, **fields}


def create(client: Client, kind: str, *criteria: tuple[str, str], **fields: str) -> Any:
    return client.post(f"{WEB}new-{kind}-policy/", sent(*criteria, **{**KINDS[kind], **fields}))


def made(kind: str = "pruning", repository: Repository | None = None, **values: Any) -> Policy:
    """Return a policy with a criterion."""
    repository = repository or Repository.objects.get(name="web")
    policy = factories.PolicyFactory(kind=kind, repository=repository, **values)
    policy.criteria.create(operator="starts_with", value="v")
    return policy


def text(response: Any) -> str:
    """Return the text of a page as one reads it."""
    assert response.status_code == 200
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", response.content.decode())).split())


def events() -> list[tuple[str, dict[str, Any]]]:
    """Return what was recorded of policies, oldest first: label and details."""
    rows = Event.objects.filter(kind__endswith="_policy").order_by("pk")
    return [(event.label, event.details) for event in rows]


class TestAccess:
    """Anonymous, outsider, reader, read-write, admin of the repository, auditor, MSR admin."""

    WHO = ("anonymous", "outsider", "reader", "writer", "repoadmin", "auditor", "admin")
    VIEWERS = {"repoadmin", "auditor", "admin"}
    EDITORS = {"repoadmin", "admin"}

    @pytest.fixture
    def clients(self, web: Repository, production: Repository, log_in: Any) -> dict[str, Client]:
        repoadmin = factories.user_with("level_admin", web)
        factories.assign_perm("level_admin", repoadmin, production)
        people = {
            "outsider": factories.UserFactory(),
            "reader": factories.user_with("level_read", web),
            "writer": factories.user_with("level_read_write", web),
            "repoadmin": repoadmin,
            "auditor": factories.auditor(),
            "admin": factories.msr_admin(),
        }
        return {"anonymous": Client(), **{name: log_in(user) for name, user in people.items()}}

    def expect(self, responses: dict[str, Any], allowed: set[str], status: int) -> None:
        for who in self.WHO:
            expected = 302 if who == "anonymous" else status if who in allowed else 404
            assert (who, responses[who].status_code) == (who, expected)
        assert responses["anonymous"]["Location"].startswith("/accounts/login/")

    @pytest.mark.parametrize("tab", ["promotions", "mirrors", "pruning"])
    def test_tabs(self, clients: dict[str, Client], tab: str) -> None:
        self.expect({who: client.get(f"{WEB}{tab}/") for who, client in clients.items()}, self.VIEWERS, 200)

    @pytest.mark.parametrize("tab", ["promotions", "mirrors", "pruning"])
    def test_tabs_are_linked_for_those_who_may_open_them(self, clients: dict[str, Client], tab: str) -> None:
        for who in ("reader", "writer", "repoadmin", "auditor", "admin"):
            page = clients[who].get(f"{WEB}activity/").content.decode()
            assert (f'href="{WEB}{tab}/"' in page) == (who in self.VIEWERS)

    @pytest.mark.parametrize("kind", KINDS)
    def test_pages_of_a_policy(self, clients: dict[str, Client], kind: str) -> None:
        url = made(kind).get_absolute_url()

        self.expect({who: client.get(url) for who, client in clients.items()}, self.VIEWERS, 200)
        for page in ("edit/", "delete/"):
            pages = {who: client.get(url + page) for who, client in clients.items()}
            self.expect(pages, self.EDITORS, 200)
        for who in self.VIEWERS:
            page = clients[who].get(url).content.decode()
            assert (f'href="{url}edit/"' in page) == (who in self.EDITORS)

    @pytest.mark.parametrize("kind", KINDS)
    def test_making_one(self, clients: dict[str, Client], kind: str) -> None:
        url = f"{WEB}new-{kind}-policy/"

        self.expect({who: client.get(url) for who, client in clients.items()}, self.EDITORS, 200)
        responses = {who: create(client, kind, ("equals", "v1")) for who, client in clients.items()}
        self.expect(responses, self.EDITORS, 302)
        assert Policy.objects.count() == len(self.EDITORS)

    @pytest.mark.parametrize("page", ["edit/", "switch/", "delete/"])
    def test_changing_one(self, clients: dict[str, Client], page: str) -> None:
        responses = {}
        for who, client in clients.items():
            policy = made(enabled=False)
            data = sent(("equals", "x"), stored=policy, enabled="true")
            responses[who] = client.post(policy.get_absolute_url() + page, data)
            changed = not Policy.objects.filter(pk=policy.pk, enabled=False).exists()
            assert (who, changed) == (who, who in self.EDITORS)

        self.expect(responses, self.EDITORS, 302)

    def test_promotion_events_alone_show_no_policies(self, log_in: Any, web: Repository) -> None:
        policy = made("promotion")
        client = log_in(factories.user_with("view_promotion_events", web))

        assert client.get(f"{WEB}promotions/").status_code == 404
        assert client.get(policy.get_absolute_url()).status_code == 404

    def test_hidden_policy_takes_as_many_queries_as_none(self, log_in: Any, web: Repository) -> None:
        policy = made("promotion")
        client = log_in(factories.UserFactory())

        def queries(url: str) -> int:
            with CaptureQueriesContext(connection) as captured:
                assert client.get(url).status_code == 404
            return len(captured)

        for page in ("", "edit/", "delete/"):
            assert queries(f"{policy.get_absolute_url()}{page}") == queries(f"/policies/00000000/{page}")

    def test_policies_of_a_deleted_repository_are_for_those_who_see_everything(
        self, clients: dict[str, Client], web: Repository
    ) -> None:
        policy = made()
        web.delete()

        for who, client in clients.items():
            seen = 200 if who in ("auditor", "admin") else 302 if who == "anonymous" else 404
            assert client.get(policy.get_absolute_url()).status_code == seen
            assert client.get(f"{policy.get_absolute_url()}edit/").status_code in (302, 404)

    @pytest.mark.parametrize(
        "url",
        [
            "/policies/%00/",
            "/policies/%00/edit/",
            f"{WEB}new-%00-policy/",
            f"{WEB}new-scanning-policy/",
            "/repositories/acme/%00/promotions/",
        ],
    )
    def test_odd_addresses_are_not_found(self, repoadmin: Client, url: str) -> None:
        assert repoadmin.get(url).status_code == 404


class TestMakingOne:
    @pytest.mark.parametrize("kind", KINDS)
    def test_shows_it_and_is_an_event(self, repoadmin: Client, kind: str) -> None:
        response = create(repoadmin, kind, ("starts_with", "v"), ("not_one_of", "v0, v1"))

        policy = Policy.objects.get()
        assert response["Location"] == policy.get_absolute_url()
        page = text(repoadmin.get(response["Location"]))
        assert "tag starts with “v”, and tag is not one of “v0”, “v1”" in page
        assert "Saved." in page
        listing = text(repoadmin.get(f"{WEB}{TABS[kind]}/"))
        assert policy.public_id in listing
        for told in KINDS[kind].values():
            if told != "24":
                assert told in page
                assert told in listing
        ((label, details),) = events()
        assert label == f"Create {policy.get_kind_display()} Policy".title()
        assert details["policy_id"] == policy.public_id
        assert details["changes"]["criteria"] == {
            "after": ["tag starts with “v”", "tag is not one of “v0”, “v1”"]
        }

    def test_needs_no_criteria_but_for_pruning(self, repoadmin: Client) -> None:
        for kind in KINDS:
            create(repoadmin, kind)

        assert set(Policy.objects.values_list("kind", flat=True)) == set(KINDS) - {"pruning"}

    def test_may_be_switched_off_at_first(self, repoadmin: Client) -> None:
        create(repoadmin, "pruning", ("equals", "v1"), enabled="")

        assert not Policy.objects.get().enabled

    @pytest.mark.parametrize(
        ("kind", "field", "value", "words"),
        [
            ("promotion", "target", "", "This field is required."),
            ("promotion", "target", "acme/web", "A repository can't be promoted to itself."),
            ("promotion", "target", "acme/none", "no repository with this name that you can push to"),
            ("promotion", "target", "acme/secret", "no repository with this name that you can push to"),
            ("promotion", "target", "acme/readable", "no repository with this name that you can push to"),
            ("promotion", "target", "acme/former", "no repository with this name that you can push to"),
            ("promotion", "target", "_/alpine", "no repository with this name that you can push to"),
            ("promotion", "target", "a\0b", "Null characters are not allowed."),
            ("promotion", "target", "a" * 256, "at most 255 characters"),
            ("promotion", "tag_template", "", "This field is required."),
            ("promotion", "tag_template", "%q", "Unknown placeholder “%q”. The placeholders are %n, %Y"),
            ("promotion", "tag_template", ":%n", "This doesn't produce a valid tag"),
            ("push_mirroring", "remote_registry", "", "This field is required."),
            ("push_mirroring", "remote_registry", "mirror.example.com", "only the address"),
            ("push_mirroring", "remote_registry", "ftp://mirror.example.com", "only the address"),
            ("push_mirroring", "remote_registry", "https://mirror.example.com/v2/", "no path"),
            ("push_mirroring", "remote_registry", "https://jane:hunter2@mirror.example.com", "password"),
            ("push_mirroring", "remote_registry", "https://mirror.example.com:99999", "a port"),
            ("push_mirroring", "remote_registry", "javascript:alert(1)", "only the address"),
            ("push_mirroring", "remote_registry", "https://[::1", "only the address"),
            ("push_mirroring", "remote_repository", "Acme/Web", "Enter a repository's full name"),
            ("pull_mirroring", "interval", "", "This field is required."),
            ("pull_mirroring", "interval", "0", "Select a valid choice."),
            ("pull_mirroring", "interval", "9" * 99, "Select a valid choice."),
        ],
    )
    def test_says_what_is_wrong(
        self, repoadmin: Client, web: Repository, kind: str, field: str, value: str, words: str
    ) -> None:
        factories.repository("acme/secret")
        factories.repository("acme/readable", public=True)
        factories.repository("acme/former").delete()

        page = text(create(repoadmin, kind, **{field: value}))

        assert words in page
        assert "Please correct the errors below" in page
        assert not Policy.objects.exists()
        assert events() == []

    @pytest.mark.parametrize(
        ("kind", "criteria", "words"),
        [
            ("pruning", [], "Add at least one criterion"),
            ("pruning", [("not_pulled_for", "0")], "Enter a whole number from 1 to 36,500."),
            ("pruning", [("all_but_newest", "x")], "Enter a whole number"),
            ("pruning", [("equals", "a\0")], "Null characters are not allowed."),
            ("pruning", [("regex", ".*")], "Select a valid choice."),
            ("pruning", [("equals", "")], "This field is required."),
            ("pruning", [("one_of", ",")], "Enter at least one tag."),
            (
                "pruning",
                [("equals", "a"), ("equals", "a")],
                "more than one criterion of this kind: tag equals “a”",
            ),
            ("pruning", [("equals", "a"), ("starts_with", "b")], "No tag can meet all of these criteria."),
            ("promotion", [("not_pulled_for", "90")], "Only pruning policies can have this criterion."),
            ("pruning", [("contains", "x" * n) for n in range(1, 23)], "at most 20"),
        ],
    )
    def test_says_what_is_wrong_with_criteria(
        self, repoadmin: Client, kind: str, criteria: list[tuple[str, str]], words: str
    ) -> None:
        page = text(create(repoadmin, kind, *criteria))

        assert words in page
        assert not Policy.objects.exists()

    def test_says_one_thing_of_a_criterion_without_a_value(self, repoadmin: Client) -> None:
        page = text(create(repoadmin, "pruning", ("equals", "")))

        assert "This field is required." in page
        assert "No tag can match" not in page

    @pytest.mark.parametrize("url", ["http://registry:5000", "https://10.0.0.7", "https://[::1]:5000"])
    def test_takes_any_host(self, repoadmin: Client, url: str) -> None:
        create(repoadmin, "pull_mirroring", remote_registry=url)

        assert Policy.objects.get().remote_registry == url

    def test_shows_hostile_text_as_text(self, repoadmin: Client) -> None:
        hostile = "<script>alert(1)</script>"

        page = create(repoadmin, "promotion", ("equals", hostile), target=hostile, tag_template=hostile)

        assert "<script>alert" not in page.content.decode()
        assert hostile in html.unescape(page.content.decode())

    def test_without_its_rows_is_told_of(self, repoadmin: Client) -> None:
        response = repoadmin.post(f"{WEB}new-pruning-policy/", {"enabled": "on"})

        assert "Please correct the errors below" in text(response)


class TestEditing:
    def test_is_an_event_that_says_what_changed(self, repoadmin: Client, production: Repository) -> None:
        policy = made("promotion", target=production, tag_template="%n")

        repoadmin.post(
            f"{policy.get_absolute_url()}edit/",
            sent(("ends_with", "-rc"), stored=policy, target="acme/production", tag_template="%n-%Y"),
        )

        assert events() == [
            (
                "Update Promotion Policy",
                {
                    "policy_id": policy.public_id,
                    "changes": {
                        "tag_template": {"before": "%n", "after": "%n-%Y"},
                        "criteria": {"before": ["tag starts with “v”"], "after": ["tag ends with “-rc”"]},
                    },
                    "client_address": "127.0.0.1",
                },
            )
        ]
        page = text(repoadmin.get(policy.get_absolute_url()))
        assert "new tag name: %n → %n-%Y" in page
        assert "criteria: tag starts with “v” → tag ends with “-rc”" in page

    def test_that_changes_nothing_is_none(self, repoadmin: Client) -> None:
        policy = made()

        repoadmin.post(f"{policy.get_absolute_url()}edit/", sent(("starts_with", "v"), stored=policy))

        assert events() == []

    def test_form_shows_what_is_stored(self, repoadmin: Client, production: Repository) -> None:
        policy = made("promotion", target=production, tag_template="%n-prod")

        page = repoadmin.get(f"{policy.get_absolute_url()}edit/").content.decode()

        for value in ("acme/production", "%n-prod", "v"):
            assert f'value="{value}"' in page

    def test_takes_the_right_to_push_to_the_target(self, log_in: Any, web: Repository) -> None:
        secret = factories.repository("acme/secret")
        policy = made("promotion", target=secret, tag_template="%n", enabled=False)
        client = log_in(factories.user_with("level_admin", web))
        url = policy.get_absolute_url()

        for page in ("", "edit/"):
            assert "acme/secret" not in client.get(url + page).content.decode()
        assert "acme/secret" not in client.get(f"{WEB}promotions/").content.decode()
        client.post(f"{url}edit/", sent(target="acme/secret", tag_template="latest"))
        client.post(f"{url}edit/", sent(target="", tag_template="latest"))
        page = text(client.post(f"{url}switch/", {"enabled": "true"}, follow=True))

        assert "You can't push to the target repository" in page
        policy.refresh_from_db()
        assert (policy.tag_template, policy.enabled) == ("%n", False)
        assert events() == []

    def test_names_of_targets_are_for_those_who_see_them(
        self, log_in: Any, admin: Client, web: Repository, production: Repository
    ) -> None:
        create(admin, "promotion")
        policy = Policy.objects.get()
        repoadmin = log_in(factories.user_with("level_admin", web))

        for url in (policy.get_absolute_url(), f"{WEB}activity/", "/api/v0/events/"):
            page = repoadmin.get(url)
            assert page.status_code == 200
            assert "acme/production" not in page.content.decode()
        assert "a repository that you can't see" in text(repoadmin.get(policy.get_absolute_url()))
        assert "target repository: — → acme/production" in text(admin.get(policy.get_absolute_url()))

    def test_switching_off_and_on_is_an_update(self, repoadmin: Client) -> None:
        policy = made()
        for enabled in ("false", "false", "true"):
            repoadmin.post(f"{policy.get_absolute_url()}switch/", {"enabled": enabled})

        assert [details["changes"]["enabled"] for _, details in events()] == [
            {"before": True, "after": False},
            {"before": False, "after": True},
        ]

    def test_deleting_keeps_the_events(self, repoadmin: Client, web: Repository) -> None:
        policy = made()
        url = policy.get_absolute_url()
        factories.record("delete_tag", web, tag="v1", actor_type="pruning", actor_name=policy.public_id)

        response = repoadmin.post(f"{url}delete/", follow=True)

        assert response.redirect_chain == [(f"{WEB}pruning/", 302)]
        assert repoadmin.get(url).status_code == 404
        assert [label for label, _ in events()] == ["Delete Pruning Policy"]
        page = repoadmin.get(f"{WEB}activity/").content.decode()
        assert f"PRUNING {policy.public_id}" in page
        assert url not in page


class TestPage:
    def test_tells_what_it_did_and_what_was_done_to_it(self, repoadmin: Client, web: Repository) -> None:
        create(repoadmin, "pruning", ("starts_with", "v"))
        policy = Policy.objects.get()
        factories.record("delete_tag", web, tag="v7", actor_type="pruning", actor_name=policy.public_id)
        factories.record("delete_tag", web, tag="v8")

        page = text(repoadmin.get(policy.get_absolute_url()))

        assert "Create Pruning Policy" in page
        assert "acme/web:v7" in page
        assert "acme/web:v8" not in page

    def test_shows_changes_of_a_producer_as_nothing(self, repoadmin: Client, web: Repository) -> None:
        policy = made()
        factories.record(
            "delete_tag",
            web,
            tag="v7",
            actor_type="pruning",
            actor_name=policy.public_id,
            details={"changes": "<b>"},
        )

        assert "acme/web:v7" in text(repoadmin.get(policy.get_absolute_url()))

    def test_is_linked_by_the_event_of_a_change_for_those_who_may_open_it(
        self, log_in: Any, repoadmin: Client, web: Repository
    ) -> None:
        create(repoadmin, "promotion")
        url = Policy.objects.get().get_absolute_url()
        watcher = log_in(factories.user_with("view_promotion_events", web))

        for client, linked in ((repoadmin, True), (watcher, False)):
            page = client.get(f"{WEB}activity/").content.decode()
            assert "Create Promotion Policy" in page
            assert (f'href="{url}"' in page) == linked
            (event,) = client.get("/api/v0/events/", {"type": "CREATE", "category": "promotion"}).json()[
                "results"
            ]
            assert event["policy_url"] == (f"http://testserver{url}" if linked else None)

    def test_history_is_in_the_api(self, repoadmin: Client, web: Repository) -> None:
        create(repoadmin, "promotion")
        policy = Policy.objects.get()
        factories.record("promote", web, tag="v1", actor_type="promotion", actor_name=policy.public_id)
        factories.record("promote", web, tag="v2")

        def labels(policy_id: str) -> set[str]:
            events = repoadmin.get("/api/v0/events/", {"policy": policy_id}).json()["results"]
            return {event["label"] for event in events}

        assert labels(policy.public_id) == {"Create Promotion Policy", "Promotion"}
        assert labels("00000000") == set()

    def test_event_of_a_change_links_to_who_made_it(self, log_in: Any, web: Repository) -> None:
        jane = factories.UserFactory(username="jane")
        factories.assign_perm("level_admin", jane, web)
        client = log_in(jane)
        create(client, "pruning", ("equals", "v1"))

        assert 'href="/users/jane/"' in client.get(Policy.objects.get().get_absolute_url()).content.decode()

    def test_number_of_queries_does_not_grow(
        self, log_in: Any, repoadmin: Client, web: Repository, production: Repository
    ) -> None:
        create(repoadmin, "promotion", ("starts_with", "v"))
        policy = Policy.objects.get()

        def queries() -> list[int]:
            counts = []
            for url in (policy.get_absolute_url(), f"{policy.get_absolute_url()}edit/", f"{WEB}promotions/"):
                with CaptureQueriesContext(connection) as captured:
                    assert repoadmin.get(url).status_code == 200
                counts.append(len(captured))
            return counts

        queries()
        before = queries()
        for number in range(8):
            create(
                repoadmin, "promotion", ("starts_with", "v"), ("ends_with", "x"), tag_template=f"t{number}"
            )
            target = factories.repository(f"org{number}/app")
            made("promotion", target=target)
            criteria = [("contains", "x" * n) for n in range(1, number + 2)]
            repoadmin.post(
                f"{policy.get_absolute_url()}edit/",
                sent(*criteria, stored=policy, target="acme/production", tag_template=f"t{number}"),
            )

        assert queries() == before

    def test_lists_are_paged(self, repoadmin: Client, web: Repository) -> None:
        for _ in range(51):
            made()

        first = repoadmin.get(f"{WEB}pruning/")
        second = repoadmin.get(f"{WEB}pruning/", {"cursor": first.context["page"].next})

        assert (len(first.context["rows"]), len(second.context["rows"])) == (50, 1)
        assert repoadmin.get(f"{WEB}pruning/", {"cursor": "x"}).status_code == 200


class TestPreview:
    def push(self, web: Repository, **days: float) -> None:
        for tag, ago in days.items():
            moment = timezone.now() - timedelta(days=ago)
            factories.record("update_tag", web, tag=tag, digest=factories.DIGEST, occurred_at=moment)

    def shown(self, client: Client, policy: Policy) -> list[tuple[str, str]]:
        preview = client.get(policy.get_absolute_url()).context["preview"]
        return [(tag.name, new_tag) for tag, new_tag in preview.shown]

    def test_shows_what_would_be_pruned(self, repoadmin: Client, web: Repository) -> None:
        self.push(web, v1=100, v2=90, v3=80, v4=1, x1=100)
        pulled = timezone.now() - timedelta(days=2)
        factories.record("get_tag", web, tag="v2", occurred_at=pulled)
        factories.record("delete_tag", web, tag="v3")
        policy = made("pruning")
        policy.criteria.create(operator="not_pulled_for", value="30")

        assert self.shown(repoadmin, policy) == [("v1", "")]
        assert "1 of 4 tags currently matches." in text(repoadmin.get(policy.get_absolute_url()))

    def test_shows_the_new_names(self, repoadmin: Client, web: Repository, production: Repository) -> None:
        self.push(web, v1=2, v2=1)
        policy = made("promotion", target=production, tag_template="%n-stable")

        assert self.shown(repoadmin, policy) == [("v2", "v2-stable"), ("v1", "v1-stable")]

    def test_says_which_new_names_are_too_long(self, repoadmin: Client, web: Repository) -> None:
        self.push(web, **{"v" * 128: 1})
        policy = made("push_mirroring", tag_template="%n-stable")

        assert "too long" in text(repoadmin.get(policy.get_absolute_url()))

    def test_knows_nothing_of_other_registries(self, repoadmin: Client, web: Repository) -> None:
        self.push(web, v1=1)

        page = text(repoadmin.get(made("pull_mirroring").get_absolute_url()))

        assert "Tags in other registries can't be previewed." in page

    def test_is_bounded(self, repoadmin: Client, web: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(policies, "MAX_TAGS_READ", 3)
        monkeypatch.setattr(policies, "MAX_TAGS_SHOWN", 1)
        self.push(web, v1=5, v2=4, v3=3, v4=2, x=1)

        page = text(repoadmin.get(made("promotion").get_absolute_url()))

        assert "2 of the 3 newest tags currently match. Older tags were not checked." in page
        assert "And 1 more." in page


class TestAdmin:
    URL = "/admin/registry_repositories/policy/"

    def test_whatever_is_done_is_an_event(
        self, admin: Client, web: Repository, production: Repository
    ) -> None:
        common = {"kind": "promotion", "repository": str(web.pk), "target": str(production.pk)}
        admin.post(f"{self.URL}add/", sent(("equals", "v1"), **common, tag_template="%n"))
        policy = Policy.objects.get()
        change = sent(("equals", "v2"), stored=policy, target=str(production.pk), tag_template="%n")
        admin.post(f"{self.URL}{policy.pk}/change/", change)
        admin.post(f"{self.URL}{policy.pk}/change/", {**change, **sent()})
        admin.post(f"{self.URL}{policy.pk}/delete/", {"post": "yes"})

        told = events()
        assert [(label, set(details["changes"])) for label, details in told] == [
            ("Create Promotion Policy", {"enabled", "target", "tag_template", "criteria"}),
            ("Update Promotion Policy", {"criteria"}),
            ("Delete Promotion Policy", {"enabled", "target", "tag_template", "criteria"}),
        ]
        assert {details["policy_id"] for _, details in told} == {policy.public_id}
        assert set(Event.objects.filter(kind__endswith="_policy").values_list("actor_name", "policy")) == {
            ("admin", policy.pk)
        }

    @pytest.mark.parametrize(
        ("kind", "fields", "criteria", "words"),
        [
            ("promotion", {"tag_template": "%n"}, [], "This field is required."),
            ("pruning", {"tag_template": "%n"}, [("equals", "v1")], "This field doesn't apply"),
            ("pruning", {}, [], "Add at least one criterion"),
            ("promotion", {"tag_template": "%n"}, [("not_pulled_for", "90")], "Only pruning policies"),
            ("", {}, [], "This field is required."),
        ],
    )
    def test_holds_to_the_same_rules(
        self,
        admin: Client,
        web: Repository,
        kind: str,
        fields: dict[str, str],
        criteria: list[tuple[str, str]],
        words: str,
    ) -> None:
        page = admin.post(
            f"{self.URL}add/", sent(*criteria, kind=kind, repository=str(web.pk), **fields)
        ).content.decode()

        assert words in html.unescape(page)
        assert not Policy.objects.exists()

    def test_auditors_look(self, auditor: Client, web: Repository) -> None:
        policy = made()

        assert "tag starts with “v”" in auditor.get(self.URL).content.decode()
        assert auditor.get(f"{self.URL}{policy.pk}/change/").status_code == 200
        assert auditor.post(f"{self.URL}{policy.pk}/change/", sent()).status_code == 403
