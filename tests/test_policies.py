"""Policies: who can see and edit them, how they are validated, and what their pages show."""

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

from activity import catalogue
from activity.models import Event
from activity.views import policies
from repositories.models import Policy, Repository
from tests import factories

pytestmark = pytest.mark.audited

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
POLICY_KINDS = [kind for kind in catalogue.KINDS if kind.endswith("_policy")]
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
    """A client whose user can administer acme/web and push to acme/production."""
    user = factories.user_with("level_admin", web)
    factories.assign_perm("level_read_write", user, production)
    return log_in(user)


def form_data(*criteria: tuple[str, str], stored: Any = None, **fields: str) -> dict[str, str]:
    """Return the form data for a policy. If a `stored` policy is given, `criteria` replace its criteria."""
    old = list(stored.criteria.all()) if stored else []
    rows = [{"operator": c.operator, "value": c.value, "id": str(c.pk), "DELETE": "on"} for c in old]
    rows += [{"operator": operator, "value": value} for operator, value in criteria]
    data = {"enabled": "on", "criteria-TOTAL_FORMS": str(len(rows)), "criteria-INITIAL_FORMS": str(len(old))}
    for number, row in enumerate(rows):
        data |= {f"criteria-{number}-{name}": text for name, text in row.items()}
    return {**data, **fields}


def submit_new(client: Client, kind: str, *criteria: tuple[str, str], **fields: str) -> Any:
    return client.post(f"{WEB}new-{kind}-policy/", form_data(*criteria, **{**KINDS[kind], **fields}))


def create_policy(kind: str = "pruning", repository: Repository | None = None, **values: Any) -> Policy:
    """Create a policy with one criterion."""
    repository = repository or Repository.objects.get(name="web")
    policy = factories.PolicyFactory(kind=kind, repository=repository, **values)
    policy.criteria.create(operator="starts_with", value="v")
    return policy


def page_text(response: Any) -> str:
    """Return the text of a page without its markup."""
    assert response.status_code == 200
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", response.content.decode())).split())


def policy_events() -> list[tuple[str, dict[str, Any]]]:
    """Return the label and the details of each policy event, oldest first."""
    rows = Event.objects.filter(kind__in=POLICY_KINDS).order_by("pk")
    return [(event.label, event.details) for event in rows]


class TestAccess:
    """Each role has the expected access.

    A writer has the read-write level on the repository, and a repoadmin has the admin level.
    """

    ROLES = ("anonymous", "outsider", "reader", "writer", "repoadmin", "auditor", "admin")
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

    def assert_allowed(self, responses: dict[str, Any], allowed: set[str], status: int) -> None:
        for role in self.ROLES:
            expected = 302 if role == "anonymous" else status if role in allowed else 404
            assert (role, responses[role].status_code) == (role, expected)
        assert responses["anonymous"]["Location"].startswith("/accounts/login/")

    @pytest.mark.parametrize("tab", ["promotions", "mirrors", "pruning"])
    def test_policy_tabs_are_visible_to_repository_admins_and_auditors(
        self, clients: dict[str, Client], tab: str
    ) -> None:
        self.assert_allowed(
            {role: client.get(f"{WEB}{tab}/") for role, client in clients.items()}, self.VIEWERS, 200
        )

    @pytest.mark.parametrize("tab", ["promotions", "mirrors", "pruning"])
    def test_policy_tabs_are_linked_only_for_users_who_can_open_them(
        self, clients: dict[str, Client], tab: str
    ) -> None:
        for role in ("reader", "writer", "repoadmin", "auditor", "admin"):
            page = clients[role].get(f"{WEB}activity/").content.decode()
            assert (f'href="{WEB}{tab}/"' in page) == (role in self.VIEWERS)

    @pytest.mark.parametrize("kind", KINDS)
    def test_policy_can_be_viewed_but_not_edited_by_auditors(
        self, clients: dict[str, Client], kind: str
    ) -> None:
        url = create_policy(kind).get_absolute_url()

        self.assert_allowed({role: client.get(url) for role, client in clients.items()}, self.VIEWERS, 200)
        for page in ("edit/", "delete/"):
            pages = {role: client.get(url + page) for role, client in clients.items()}
            self.assert_allowed(pages, self.EDITORS, 200)
        for role in self.VIEWERS:
            page = clients[role].get(url).content.decode()
            assert (f'href="{url}edit/"' in page) == (role in self.EDITORS)

    @pytest.mark.parametrize("kind", KINDS)
    def test_policy_can_be_created_only_by_repository_admins(
        self, clients: dict[str, Client], kind: str
    ) -> None:
        url = f"{WEB}new-{kind}-policy/"

        self.assert_allowed({role: client.get(url) for role, client in clients.items()}, self.EDITORS, 200)
        responses = {role: submit_new(client, kind, ("equals", "v1")) for role, client in clients.items()}
        self.assert_allowed(responses, self.EDITORS, 302)
        assert Policy.objects.count() == len(self.EDITORS)

    @pytest.mark.parametrize("page", ["edit/", "switch/", "delete/"])
    def test_policy_can_be_changed_only_by_repository_admins(
        self, clients: dict[str, Client], page: str
    ) -> None:
        responses = {}
        for role, client in clients.items():
            policy = create_policy(enabled=False)
            data = form_data(("equals", "x"), stored=policy, enabled="true")
            responses[role] = client.post(policy.get_absolute_url() + page, data)
            changed = not Policy.objects.filter(pk=policy.pk, enabled=False).exists()
            assert (role, changed) == (role, role in self.EDITORS)

        self.assert_allowed(responses, self.EDITORS, 302)

    def test_view_promotion_events_permission_does_not_show_policies(
        self, log_in: Any, web: Repository
    ) -> None:
        policy = create_policy("promotion")
        client = log_in(factories.user_with("view_promotion_events", web))

        assert client.get(f"{WEB}promotions/").status_code == 404
        assert client.get(policy.get_absolute_url()).status_code == 404

    def test_hidden_policy_takes_as_many_queries_as_a_missing_one(self, log_in: Any, web: Repository) -> None:
        policy = create_policy("promotion")
        client = log_in(factories.UserFactory())

        def queries(url: str) -> int:
            with CaptureQueriesContext(connection) as captured:
                assert client.get(url).status_code == 404
            return len(captured)

        for page in ("", "edit/", "delete/"):
            assert queries(f"{policy.get_absolute_url()}{page}") == queries(f"/policies/00000000/{page}")

    def test_policies_of_a_deleted_repository_are_visible_only_to_msr_admins_and_auditors(
        self, clients: dict[str, Client], web: Repository
    ) -> None:
        policy = create_policy()
        web.delete()

        for role, client in clients.items():
            seen = 200 if role in ("auditor", "admin") else 302 if role == "anonymous" else 404
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
    def test_invalid_policy_urls_are_not_found(self, repoadmin: Client, url: str) -> None:
        assert repoadmin.get(url).status_code == 404


class TestCreating:
    @pytest.mark.parametrize("kind", KINDS)
    def test_created_policy_is_shown_and_recorded(self, repoadmin: Client, kind: str) -> None:
        response = submit_new(repoadmin, kind, ("starts_with", "v"), ("not_one_of", "v0, v1"))

        policy = Policy.objects.get()
        assert response["Location"] == policy.get_absolute_url()
        page = page_text(repoadmin.get(response["Location"]))
        assert "tag starts with “v”, and tag is not one of “v0”, “v1”" in page
        assert "Saved." in page
        listing = page_text(repoadmin.get(f"{WEB}{TABS[kind]}/"))
        assert policy.public_id in listing
        for value in KINDS[kind].values():
            if value != "24":
                assert value in page
                assert value in listing
        ((label, details),) = policy_events()
        assert label == f"Create {policy.get_kind_display()} Policy".title()
        assert details["policy_id"] == policy.public_id
        assert details["changes"]["criteria"] == {
            "after": ["tag starts with “v”", "tag is not one of “v0”, “v1”"]
        }

    def test_criteria_are_required_only_for_pruning_policies(self, repoadmin: Client) -> None:
        for kind in KINDS:
            submit_new(repoadmin, kind)

        assert set(Policy.objects.values_list("kind", flat=True)) == set(KINDS) - {"pruning"}

    def test_policy_can_be_created_disabled(self, repoadmin: Client) -> None:
        submit_new(repoadmin, "pruning", ("equals", "v1"), enabled="")

        assert not Policy.objects.get().enabled

    @pytest.mark.parametrize(
        ("kind", "field", "value", "message"),
        [
            ("promotion", "target", "", "This field is required."),
            ("promotion", "target", "acme/web", "The target must be a different repository."),
            ("promotion", "target", "acme/none", "no repository with this name that you can push to"),
            ("promotion", "target", "acme/secret", "no repository with this name that you can push to"),
            ("promotion", "target", "acme/readable", "no repository with this name that you can push to"),
            ("promotion", "target", "acme/former", "no repository with this name that you can push to"),
            ("promotion", "target", "_/alpine", "no repository with this name that you can push to"),
            ("promotion", "target", "a\0b", "Null characters are not allowed."),
            ("promotion", "target", "a" * 256, "at most 255 characters"),
            ("promotion", "tag_template", "", "This field is required."),
            ("promotion", "tag_template", "%q", "Unknown placeholder “%q”. The placeholders are %n, %Y"),
            ("promotion", "tag_template", ":%n", "This template doesn't produce a valid tag"),
            ("push_mirroring", "remote_registry", "", "This field is required."),
            ("push_mirroring", "remote_registry", "mirror.example.com", "Enter the URL of the registry"),
            (
                "push_mirroring",
                "remote_registry",
                "ftp://mirror.example.com",
                "Enter the URL of the registry",
            ),
            ("push_mirroring", "remote_registry", "https://mirror.example.com/v2/", "contain a path"),
            ("push_mirroring", "remote_registry", "https://jane:hunter2@mirror.example.com", "password"),
            ("push_mirroring", "remote_registry", "https://mirror.example.com:99999", "a port"),
            ("push_mirroring", "remote_registry", "javascript:alert(1)", "Enter the URL of the registry"),
            ("push_mirroring", "remote_registry", "https://[::1", "Enter the URL of the registry"),
            ("push_mirroring", "remote_repository", "Acme/Web", "Enter a repository's full name"),
            ("pull_mirroring", "interval", "", "This field is required."),
            ("pull_mirroring", "interval", "0", "Select a valid choice."),
            ("pull_mirroring", "interval", "9" * 99, "Select a valid choice."),
        ],
    )
    def test_invalid_policy_field_is_rejected_with_a_message(
        self, repoadmin: Client, web: Repository, kind: str, field: str, value: str, message: str
    ) -> None:
        factories.repository("acme/secret")
        factories.repository("acme/readable", public=True)
        factories.repository("acme/former").delete()

        page = page_text(submit_new(repoadmin, kind, **{field: value}))

        assert message in page
        assert "Please correct the errors below" in page
        assert not Policy.objects.exists()
        assert policy_events() == []

    @pytest.mark.parametrize(
        ("kind", "criteria", "message"),
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
    def test_invalid_criteria_are_rejected_with_a_message(
        self, repoadmin: Client, kind: str, criteria: list[tuple[str, str]], message: str
    ) -> None:
        page = page_text(submit_new(repoadmin, kind, *criteria))

        assert message in page
        assert not Policy.objects.exists()

    def test_criterion_without_a_value_causes_a_single_error(self, repoadmin: Client) -> None:
        page = page_text(submit_new(repoadmin, "pruning", ("equals", "")))

        assert "This field is required." in page
        assert "No tag can match" not in page

    @pytest.mark.parametrize("url", ["http://registry:5000", "https://10.0.0.7", "https://[::1]:5000"])
    def test_remote_registry_accepts_any_host(self, repoadmin: Client, url: str) -> None:
        submit_new(repoadmin, "pull_mirroring", remote_registry=url)

        assert Policy.objects.get().remote_registry == url

    def test_policy_form_escapes_submitted_values(self, repoadmin: Client) -> None:
        markup = "<script>alert(1)</script>"

        page = submit_new(repoadmin, "promotion", ("equals", markup), target=markup, tag_template=markup)

        assert "<script>alert" not in page.content.decode()
        assert markup in html.unescape(page.content.decode())

    def test_policy_form_without_criteria_rows_is_rejected(self, repoadmin: Client) -> None:
        response = repoadmin.post(f"{WEB}new-pruning-policy/", {"enabled": "on"})

        assert "Please correct the errors below" in page_text(response)


class TestEditing:
    def test_policy_edit_is_recorded_with_its_changes(
        self, repoadmin: Client, production: Repository
    ) -> None:
        policy = create_policy("promotion", target=production, tag_template="%n")

        repoadmin.post(
            f"{policy.get_absolute_url()}edit/",
            form_data(("ends_with", "-rc"), stored=policy, target="acme/production", tag_template="%n-%Y"),
        )

        assert policy_events() == [
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
        page = page_text(repoadmin.get(policy.get_absolute_url()))
        assert "new tag name: %n → %n-%Y" in page
        assert "criteria: tag starts with “v” → tag ends with “-rc”" in page

    def test_policy_edit_without_changes_is_not_recorded(self, repoadmin: Client) -> None:
        policy = create_policy()

        repoadmin.post(f"{policy.get_absolute_url()}edit/", form_data(("starts_with", "v"), stored=policy))

        assert policy_events() == []

    def test_policy_edit_form_shows_the_stored_values(
        self, repoadmin: Client, production: Repository
    ) -> None:
        policy = create_policy("promotion", target=production, tag_template="%n-prod")

        page = repoadmin.get(f"{policy.get_absolute_url()}edit/").content.decode()

        for value in ("acme/production", "%n-prod", "v"):
            assert f'value="{value}"' in page

    def test_editing_a_promotion_policy_requires_push_access_to_the_target(
        self, log_in: Any, web: Repository
    ) -> None:
        secret = factories.repository("acme/secret")
        policy = create_policy("promotion", target=secret, tag_template="%n", enabled=False)
        client = log_in(factories.user_with("level_admin", web))
        url = policy.get_absolute_url()

        for page in ("", "edit/"):
            assert "acme/secret" not in client.get(url + page).content.decode()
        assert "acme/secret" not in client.get(f"{WEB}promotions/").content.decode()
        client.post(f"{url}edit/", form_data(target="acme/secret", tag_template="latest"))
        client.post(f"{url}edit/", form_data(target="", tag_template="latest"))
        page = page_text(client.post(f"{url}switch/", {"enabled": "true"}, follow=True))

        assert "You can't push to the target repository" in page
        policy.refresh_from_db()
        assert (policy.tag_template, policy.enabled) == ("%n", False)
        assert policy_events() == []

    def test_promotion_target_is_named_only_to_users_who_can_see_it(
        self, log_in: Any, admin: Client, web: Repository, production: Repository
    ) -> None:
        submit_new(admin, "promotion")
        policy = Policy.objects.get()
        repoadmin = log_in(factories.user_with("level_admin", web))

        for url in (policy.get_absolute_url(), f"{WEB}activity/", "/api/v0/events/"):
            page = repoadmin.get(url)
            assert page.status_code == 200
            assert "acme/production" not in page.content.decode()
        assert "a repository that you can't see" in page_text(repoadmin.get(policy.get_absolute_url()))
        assert "target repository: — → acme/production" in page_text(admin.get(policy.get_absolute_url()))
        event = Event.objects.get(policy=policy).get_absolute_url()
        hidden, shown = (page_text(client.get(event)) for client in (repoadmin, admin))
        assert "Change of target repository — → a repository that you can't see" in hidden
        assert "Change of target repository — → acme/production" in shown

    def test_disabling_and_enabling_a_policy_are_recorded_as_updates(self, repoadmin: Client) -> None:
        policy = create_policy()
        for enabled in ("false", "false", "true"):
            repoadmin.post(f"{policy.get_absolute_url()}switch/", {"enabled": enabled})

        assert [details["changes"]["enabled"] for _, details in policy_events()] == [
            {"before": True, "after": False},
            {"before": False, "after": True},
        ]

    def test_deleting_a_policy_preserves_its_events(self, repoadmin: Client, web: Repository) -> None:
        policy = create_policy()
        url = policy.get_absolute_url()
        factories.record("delete_tag", web, tag="v1", actor_type="pruning", actor_name=policy.public_id)

        response = repoadmin.post(f"{url}delete/", follow=True)

        assert response.redirect_chain == [(f"{WEB}pruning/", 302)]
        assert repoadmin.get(url).status_code == 404
        assert [label for label, _ in policy_events()] == ["Delete Pruning Policy"]
        page = repoadmin.get(f"{WEB}activity/").content.decode()
        assert f"PRUNING {policy.public_id}" in page
        assert url not in page


class TestPage:
    def test_policy_page_shows_events_by_and_about_the_policy(
        self, repoadmin: Client, web: Repository
    ) -> None:
        submit_new(repoadmin, "pruning", ("starts_with", "v"))
        policy = Policy.objects.get()
        factories.record("delete_tag", web, tag="v7", actor_type="pruning", actor_name=policy.public_id)
        factories.record("delete_tag", web, tag="v8")

        page = page_text(repoadmin.get(policy.get_absolute_url()))

        assert "Create Pruning Policy" in page
        assert "acme/web:v7" in page
        assert "acme/web:v8" not in page

    def test_policy_page_ignores_malformed_changes_from_producers(
        self, repoadmin: Client, web: Repository
    ) -> None:
        policy = create_policy()
        factories.record(
            "delete_tag",
            web,
            tag="v7",
            actor_type="pruning",
            actor_name=policy.public_id,
            details={"changes": "<b>"},
        )

        assert "acme/web:v7" in page_text(repoadmin.get(policy.get_absolute_url()))

    def test_policy_event_links_to_the_policy_only_for_users_who_can_open_it(
        self, log_in: Any, repoadmin: Client, web: Repository
    ) -> None:
        submit_new(repoadmin, "promotion")
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

    def test_api_returns_the_events_of_a_policy(self, repoadmin: Client, web: Repository) -> None:
        submit_new(repoadmin, "promotion")
        policy = Policy.objects.get()
        factories.record("promote", web, tag="v1", actor_type="promotion", actor_name=policy.public_id)
        factories.record("promote", web, tag="v2")

        def labels(policy_id: str) -> set[str]:
            events = repoadmin.get("/api/v0/events/", {"policy": policy_id}).json()["results"]
            return {event["label"] for event in events}

        assert labels(policy.public_id) == {"Create Promotion Policy", "Promotion"}
        assert labels("00000000") == set()

    def test_policy_event_links_to_its_actor(self, log_in: Any, web: Repository) -> None:
        jane = factories.UserFactory(username="jane")
        factories.assign_perm("level_admin", jane, web)
        client = log_in(jane)
        submit_new(client, "pruning", ("equals", "v1"))

        assert 'href="/users/jane/"' in client.get(Policy.objects.get().get_absolute_url()).content.decode()

    def test_policy_pages_take_a_constant_number_of_queries(
        self, log_in: Any, repoadmin: Client, web: Repository, production: Repository
    ) -> None:
        submit_new(repoadmin, "promotion", ("starts_with", "v"))
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
            submit_new(
                repoadmin, "promotion", ("starts_with", "v"), ("ends_with", "x"), tag_template=f"t{number}"
            )
            target = factories.repository(f"org{number}/app")
            create_policy("promotion", target=target)
            criteria = [("contains", "x" * n) for n in range(1, number + 2)]
            repoadmin.post(
                f"{policy.get_absolute_url()}edit/",
                form_data(*criteria, stored=policy, target="acme/production", tag_template=f"t{number}"),
            )

        assert queries() == before

    def test_policy_lists_are_paginated(self, repoadmin: Client, web: Repository) -> None:
        for _ in range(51):
            create_policy()

        first = repoadmin.get(f"{WEB}pruning/")
        second = repoadmin.get(f"{WEB}pruning/", {"cursor": first.context["page"].next})

        assert (len(first.context["rows"]), len(second.context["rows"])) == (50, 1)
        assert repoadmin.get(f"{WEB}pruning/", {"cursor": "x"}).status_code == 200


class TestPreview:
    def record_pushes(self, web: Repository, **days: float) -> None:
        for tag, ago in days.items():
            moment = timezone.now() - timedelta(days=ago)
            factories.record("update_tag", web, tag=tag, digest=factories.DIGEST, occurred_at=moment)

    def previewed_tags(self, client: Client, policy: Policy) -> list[tuple[str, str]]:
        preview = client.get(policy.get_absolute_url()).context["preview"]
        return [(tag.name, new_tag) for tag, new_tag in preview.shown]

    def test_preview_shows_the_tags_to_be_pruned(self, repoadmin: Client, web: Repository) -> None:
        self.record_pushes(web, v1=100, v2=90, v3=80, v4=1, x1=100)
        pulled = timezone.now() - timedelta(days=2)
        factories.record("get_tag", web, tag="v2", occurred_at=pulled)
        factories.record("delete_tag", web, tag="v3", occurred_at=pulled)
        policy = create_policy("pruning")
        policy.criteria.create(operator="not_pulled_for", value="30")

        assert self.previewed_tags(repoadmin, policy) == [("v1", "")]
        assert "1 of 4 tags currently matches." in page_text(repoadmin.get(policy.get_absolute_url()))

    def test_preview_shows_new_tag_names(
        self, repoadmin: Client, web: Repository, production: Repository
    ) -> None:
        self.record_pushes(web, v1=2, v2=1)
        policy = create_policy("promotion", target=production, tag_template="%n-stable")

        assert self.previewed_tags(repoadmin, policy) == [("v2", "v2-stable"), ("v1", "v1-stable")]

    def test_attachments_are_previewed_with_their_image_and_keep_their_names(
        self, repoadmin: Client, web: Repository, production: Repository
    ) -> None:
        signature = factories.DIGEST.replace(":", "-") + ".sig"
        self.record_pushes(web, v1=5, v2=4)
        moment = timezone.now() - timedelta(days=3)
        factories.record("update_tag", web, tag=signature, digest="sha256:" + "0" * 64, occurred_at=moment)
        promotion = create_policy("promotion", target=production, tag_template="%n-stable")
        promotion.criteria.create(operator="equals", value="v1")
        pruning = create_policy("pruning")
        pruning.criteria.create(operator="all_but_newest", value="1")

        assert self.previewed_tags(repoadmin, promotion) == [(signature, signature), ("v1", "v1-stable")]
        assert self.previewed_tags(repoadmin, pruning) == [("v1", "")]
        assert f"{signature} Signature" in page_text(repoadmin.get(promotion.get_absolute_url()))

        factories.record("delete_tag", web, tag="v2", occurred_at=timezone.now())
        pruning.criteria.create(operator="starts_with", value="v")
        pruning.criteria.filter(operator="all_but_newest").delete()
        assert self.previewed_tags(repoadmin, pruning) == [(signature, ""), ("v1", "")]

    def test_requested_tag_is_not_pruned(self, registry: Any, repoadmin: Client, web: Repository) -> None:
        """With the image present, clients such as Kubernetes send only a HEAD request for the tag."""
        self.record_pushes(web, v1=60, v2=60)
        head = {"action": "pull", "target": {"tag": "v1"}, "request": {"method": "HEAD"}}
        yesterday = (timezone.now() - timedelta(days=1)).isoformat()
        registry(factories.notification(**head, timestamp=yesterday))
        policy = create_policy("pruning")
        policy.criteria.create(operator="not_pulled_for", value="30")

        assert self.previewed_tags(repoadmin, policy) == [("v2", "")]

    def test_preview_marks_new_tag_names_that_are_too_long(self, repoadmin: Client, web: Repository) -> None:
        self.record_pushes(web, **{"v" * 128: 1})
        policy = create_policy("push_mirroring", tag_template="%n-stable")

        assert "too long" in page_text(repoadmin.get(policy.get_absolute_url()))

    def test_preview_is_not_available_for_pull_mirroring(self, repoadmin: Client, web: Repository) -> None:
        self.record_pushes(web, v1=1)

        page = page_text(repoadmin.get(create_policy("pull_mirroring").get_absolute_url()))

        assert "Tags in other registries can't be previewed." in page

    def test_preview_reads_and_shows_a_limited_number_of_tags(
        self, repoadmin: Client, web: Repository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(policies, "MAX_TAGS_READ", 3)
        monkeypatch.setattr(policies, "MAX_TAGS_SHOWN", 1)
        self.record_pushes(web, v1=5, v2=4, v3=3, v4=2, x=1)

        page = page_text(repoadmin.get(create_policy("promotion").get_absolute_url()))

        assert "2 of the 3 newest tags currently match. Older tags were not checked." in page
        assert "And 1 more." in page


class TestAdmin:
    URL = "/admin/registry_repositories/policy/"

    def test_policy_changes_in_the_admin_are_recorded(
        self, admin: Client, web: Repository, production: Repository
    ) -> None:
        common = {"kind": "promotion", "repository": str(web.pk), "target": str(production.pk)}
        admin.post(f"{self.URL}add/", form_data(("equals", "v1"), **common, tag_template="%n"))
        policy = Policy.objects.get()
        change = form_data(("equals", "v2"), stored=policy, target=str(production.pk), tag_template="%n")
        admin.post(f"{self.URL}{policy.pk}/change/", change)
        admin.post(f"{self.URL}{policy.pk}/change/", {**change, **form_data()})
        admin.post(f"{self.URL}{policy.pk}/delete/", {"post": "yes"})

        recorded = policy_events()
        assert [(label, set(details["changes"])) for label, details in recorded] == [
            ("Create Promotion Policy", {"enabled", "target", "tag_template", "criteria"}),
            ("Update Promotion Policy", {"criteria"}),
            ("Delete Promotion Policy", {"enabled", "target", "tag_template", "criteria"}),
        ]
        assert {details["policy_id"] for _, details in recorded} == {policy.public_id}
        assert set(Event.objects.filter(kind__in=POLICY_KINDS).values_list("actor_name", "policy")) == {
            ("admin", policy.pk)
        }

    @pytest.mark.parametrize(
        ("kind", "fields", "criteria", "message"),
        [
            ("promotion", {"tag_template": "%n"}, [], "This field is required."),
            ("pruning", {"tag_template": "%n"}, [("equals", "v1")], "This field doesn't apply"),
            ("pruning", {}, [], "Add at least one criterion"),
            ("promotion", {"tag_template": "%n"}, [("not_pulled_for", "90")], "Only pruning policies"),
            ("", {}, [], "This field is required."),
        ],
    )
    def test_policies_are_validated_in_the_admin_as_on_the_site(
        self,
        admin: Client,
        web: Repository,
        kind: str,
        fields: dict[str, str],
        criteria: list[tuple[str, str]],
        message: str,
    ) -> None:
        page = admin.post(
            f"{self.URL}add/", form_data(*criteria, kind=kind, repository=str(web.pk), **fields)
        ).content.decode()

        assert message in html.unescape(page)
        assert not Policy.objects.exists()

    def test_auditors_can_view_but_not_change_policies_in_the_admin(
        self, auditor: Client, web: Repository
    ) -> None:
        policy = create_policy()

        assert "tag starts with “v”" in auditor.get(self.URL).content.decode()
        assert auditor.get(f"{self.URL}{policy.pk}/change/").status_code == 200
        assert auditor.post(f"{self.URL}{policy.pk}/change/", form_data()).status_code == 403
