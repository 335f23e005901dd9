"""A repository's tags: how events update them, whatever order the events arrive in, and the Tags page."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activity.models import ActorType, Tag, TagPull
from activity.recording.drafts import Draft
from activity.recording.record import record_events
from activity.storage import attachments as stored_attachments
from activity.storage import tags
from repositories import names
from repositories.models import Repository
from tests import capture_files, factories

DIGESTS = ["sha256:" + digit * 64 for digit in "ab"]

draft_lists = st.lists(
    st.builds(
        lambda kind, minute, number, tag, digest, actor: Draft(
            kind=kind,
            repository_name="acme/web",
            occurred_at=factories.NOON + timedelta(minutes=minute),
            source_id=f"source-{number}-{minute}-{kind}",
            tag="" if kind == "delete_manifest" else tag,
            digest="" if kind == "delete_tag" else digest,
            actor_type=ActorType.USER,
            actor_name=actor,
        ),
        kind=st.sampled_from(["update_tag", "create_tag", "delete_tag", "delete_manifest", "get_tag"]),
        minute=st.integers(0, 5),
        number=st.integers(0, 2),
        tag=st.sampled_from(["latest", "v1", "V1"]),
        digest=st.sampled_from(DIGESTS),
        actor=st.sampled_from(["jane", "joe"]),
    ),
    max_size=12,
    unique_by=lambda draft: draft.source_id,
)


def tag_rows(repository: Repository) -> list[tuple]:
    """Return the stored values of each tag row in a repository, followed by whether the tag exists."""
    columns = [
        "name",
        "last_push",
        "digest",
        "pushed_by_name",
        "last_deletion",
        "total_pulls",
        "last_pulled_at",
    ]
    rows = tags.with_pulls(Tag.objects.filter(repository=repository)).order_by("name")
    existing = set(tags.current_tags(repository).values_list("name", flat=True))
    # Not every row is an existing tag: folding also creates a row for a tag that was pulled but never pushed.
    return [(*row, row[0] in existing) for row in rows.values_list(*columns)]


def deliver(messages: Iterable[list[Draft]], fold_after: int = -1) -> list[tuple]:
    """Record messages one by one, fold the pulls, and return the stored tags. Everything is rolled back."""
    with transaction.atomic():
        for number, message in enumerate(messages):
            record_events(message)
            if number == fold_after:
                tags.fold()
        tags.fold()
        stored = tag_rows(Repository.objects.get(name="web"))
        transaction.set_rollback(True)
    return stored


@pytest.mark.long
@pytest.mark.django_db
@settings(suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_tags_do_not_depend_on_the_order_grouping_or_repetition_of_messages(
    data: Any, web: Repository
) -> None:
    drafts = data.draw(draft_lists)
    once = deliver([drafts])
    shuffled = data.draw(st.permutations([*drafts, *drafts[:4]]))
    size = data.draw(st.integers(1, 6))
    messages = [shuffled[start : start + size] for start in range(0, len(shuffled), size)]

    assert deliver(messages, fold_after=data.draw(st.integers(0, 6))) == once


def current_tags(repository: Repository) -> dict[str, str]:
    return dict(tags.current_tags(repository).order_by("name").values_list("name", "digest"))


def pulls_of(repository: Repository) -> dict[str, tuple]:
    rows = tags.with_pulls(tags.current_tags(repository))
    return {name: tuple(pulls) for name, *pulls in rows.values_list("name", "total_pulls", "last_pulled_at")}


@pytest.mark.django_db
class TestUpdating:
    def test_newest_push_determines_the_tag(self, web: Repository) -> None:
        record = factories.record
        late = factories.NOON + timedelta(days=2)
        record("update_tag", web, tag="v1", digest=DIGESTS[0], actor_name="joe", occurred_at=late)
        record("update_tag", web, tag="v1", digest=DIGESTS[1], actor_name="jane")

        tag = tags.current_tags(web).get()

        assert (tag.digest, tag.pushed_by, tag.pushed_at) == (DIGESTS[0], "joe", late)

    def test_deleted_tag_is_not_listed_until_it_is_pushed_again(self, web: Repository) -> None:
        factories.record("update_tag", web, tag="v1", digest=DIGESTS[0])
        factories.record("update_tag", web, tag="v2", digest=DIGESTS[0])

        factories.record("delete_tag", web, tag="v1")
        assert current_tags(web) == {"v2": DIGESTS[0]}

        factories.record("update_tag", web, tag="v1", digest=DIGESTS[1])
        assert current_tags(web) == {"v1": DIGESTS[1], "v2": DIGESTS[0]}

    def test_deleting_a_manifest_deletes_the_tags_that_point_to_it(self, web: Repository) -> None:
        for tag, digest in (("a", DIGESTS[0]), ("b", DIGESTS[0]), ("c", DIGESTS[1]), ("moved", DIGESTS[0])):
            factories.record("update_tag", web, tag=tag, digest=digest)
        factories.record("update_tag", web, tag="moved", digest=DIGESTS[1])

        factories.record("delete_manifest", web, digest=DIGESTS[0])
        assert current_tags(web) == {"c": DIGESTS[1], "moved": DIGESTS[1]}

        factories.record("update_tag", web, tag="b", digest=DIGESTS[0])
        assert list(current_tags(web)) == ["b", "c", "moved"]

    def test_deletion_that_arrives_before_an_earlier_push_deletes_the_tag(self, web: Repository) -> None:
        later = factories.NOON + timedelta(days=300)
        factories.record("delete_manifest", web, digest=DIGESTS[0], occurred_at=later)
        factories.record("delete_tag", web, tag="b", occurred_at=later)

        factories.record("update_tag", web, tag="a", digest=DIGESTS[0])
        factories.record("update_tag", web, tag="b", digest=DIGESTS[1])

        assert current_tags(web) == {}

    def test_tag_that_was_only_pulled_is_not_listed(self, web: Repository) -> None:
        factories.record("get_tag", web, tag="v1", digest=DIGESTS[0])
        tags.fold()

        assert current_tags(web) == {}

    def test_pulls_are_counted_before_and_after_folding(self, web: Repository) -> None:
        factories.record("update_tag", web, tag="v1", digest=DIGESTS[0])
        factories.record("get_tag", web, tag="v1", digest=DIGESTS[0])
        assert tags.fold() == 1
        last = factories.record("get_tag", web, tag="v1", digest=DIGESTS[0])
        factories.record("get_tag", web, tag="other", digest=DIGESTS[0])

        assert pulls_of(web) == {"v1": (2, last.occurred_at)}
        assert tags.fold() == 2
        assert pulls_of(web) == {"v1": (2, last.occurred_at)}
        assert not TagPull.objects.exists()

    def test_tag_that_was_never_pulled_has_no_last_pull(self, web: Repository) -> None:
        factories.record("update_tag", web, tag="v1", digest=DIGESTS[0])

        assert pulls_of(web) == {"v1": (0, None)}

    def test_pulls_of_one_message_are_stored_in_one_row(self, web: Repository, registry: Any) -> None:
        pulls = [factories.notification(action="pull", request={"method": "GET"}) for _ in range(20)]

        assert registry(*pulls).json()["events"] == 20

        assert TagPull.objects.values_list("name", "pulls").get() == ("latest", 20)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite allows only one writer at a time")
@pytest.mark.django_db(transaction=True)
def test_concurrent_recordings_do_not_deadlock_and_count_each_event_once() -> None:
    web = factories.repository("acme/web")
    drafts = [
        Draft(
            kind=kind,
            repository=web,
            repository_name="acme/web",
            occurred_at=factories.NOON + timedelta(minutes=number, seconds=second),
            source_id=f"{kind}-{number}",
            tag="" if kind == "delete_manifest" else f"t{number % 5}",
            digest="" if kind == "delete_tag" else DIGESTS[number % 2],
        )
        for number in range(50)
        for second, kind in enumerate(("delete_manifest", "delete_tag", "update_tag", "get_tag"))
    ]

    def record(seed: int) -> None:
        """Record all drafts in a random order, folding after every ten."""
        shuffled = random.Random(seed).sample(drafts, len(drafts))
        try:
            for start in range(0, len(shuffled), 10):
                record_events(shuffled[start : start + 10])
                tags.fold()
        finally:
            connection.close()

    with ThreadPoolExecutor() as threads:
        for done in [threads.submit(record, seed) for seed in range(4)]:
            done.result()
    tags.fold()

    # The five tags were last pushed in minutes 45 to 49. Before the push in minute 48, one of the two
    # manifests is deleted along with all its tags, and before the push in minute 49, the other one. So only
    # the tags pushed in these two minutes remain.
    assert current_tags(web) == {f"t{number % 5}": DIGESTS[number % 2] for number in (48, 49)}
    assert dict(Tag.objects.values_list("name", "pulls")) == {f"t{number}": 10 for number in range(5)}


URL = "/repositories/acme/web/tags/"


def rows(client: Client, url: str = URL, **query: Any) -> list[dict[str, str]]:
    """Return the rows of the page as dicts that map column labels to cell texts."""
    response = client.get(url, query)
    assert response.status_code == 200
    found = re.findall(r"<tr>(.*?)</tr>", response.content.decode(), re.DOTALL)
    # Remove relative times ("… ago"), because they depend on the current time.
    found = [re.sub(r'<span class="ago">.*?</span>', "", row) for row in found]
    cells = [re.findall(r'<td data-label="([^"]+)"[^>]*>(.*?)</td>', row, re.DOTALL) for row in found]
    return [
        {label: " ".join(re.sub("<[^>]*>", " ", cell).split()) for label, cell in row} for row in cells if row
    ]


def listed_tags(client: Client, **query: Any) -> list[str]:
    """Return the names of the tags on the page."""
    return [row["Tag"] for row in rows(client, **query)]


class TestPage:
    @pytest.mark.parametrize(
        ("create_viewer", "status"),
        [
            (lambda web: factories.UserFactory(), 404),
            (lambda web: factories.user_with("view_push_events", web), 404),
            (lambda web: factories.user_with("view_pull_events", web), 404),
            (lambda web: factories.user_with("level_read", web), 200),
            (lambda web: factories.auditor(), 200),
            (lambda web: factories.msr_admin(), 200),
        ],
    )
    def test_tags_page_requires_read_access(
        self, log_in: Any, web: Repository, create_viewer: Any, status: int
    ) -> None:
        assert log_in(create_viewer(web)).get(URL).status_code == status
        assert Client().get(URL).status_code == 302

    def test_tags_page_shows_pushes_to_readers_and_pulls_to_admins(
        self, reader: Client, repoadmin: Client, web: Repository
    ) -> None:
        factories.UserFactory(username="jane")
        factories.record(
            "update_tag", web, tag="v1", digest=factories.DIGEST, occurred_at=factories.NOON.replace(day=1)
        )
        factories.record("get_tag", web, tag="v1", digest=factories.DIGEST, occurred_at=factories.NOON)
        pushed = {
            "Tag": "v1",
            "SHA": f"sha256:bbf09ba3 {factories.DIGEST}",
            "Pushed": "Nov 1, 2026 12:00 PM",
            "Pushed by": "jane",
        }

        assert rows(reader) == [pushed]
        assert "pull" not in reader.get(URL).content.decode().lower()
        noon = "Nov 22, 2026 12:00 PM"
        pulled = {"Last pulled": noon, "Last requested": noon, "Pulls": "1"}
        assert rows(repoadmin) == [{**pushed, **pulled}]
        html = reader.get(URL).content.decode()
        assert '<a href="/users/jane/">' in html
        assert 'href="/repositories/acme/web/activity/?tag=v1"' in html

    def test_tags_page_shows_when_a_tag_was_requested_without_a_pull(
        self, registry: Any, reader: Client, repoadmin: Client, web: Repository
    ) -> None:
        head = {"action": "pull", "target": {"tag": "v1"}, "request": {"method": "HEAD"}}
        factories.record("update_tag", web, tag="v1", digest=factories.DIGEST)
        registry(factories.notification(**head, timestamp="2026-11-23T09:30:10Z"))

        (row,) = rows(repoadmin)
        assert (row["Last pulled"], row["Last requested"]) == ("never", "Nov 23, 2026 9:30 AM")
        assert "requested" not in reader.get(URL).content.decode().lower()

    def test_tags_page_can_be_searched_and_sorted(self, reader: Client, web: Repository) -> None:
        for tag in ("beta", "alpha", "Beta-2"):
            factories.record("update_tag", web, tag=tag)

        assert listed_tags(reader) == ["Beta-2", "alpha", "beta"]
        assert listed_tags(reader, sort="pushed") == ["beta", "alpha", "Beta-2"]
        assert listed_tags(reader, sort="name") == listed_tags(reader, sort="-name")[::-1]
        assert listed_tags(reader, q="BETA") == ["Beta-2", "beta"]
        assert listed_tags(reader, q="_%") == []

    @pytest.mark.parametrize("query", [{"q": "\0"}, {"sort": "\0"}, {"cursor": "x"}, {"q": "a" * 1000}])
    def test_tags_page_accepts_unusual_queries(self, reader: Client, query: dict[str, str]) -> None:
        assert reader.get(URL, query).status_code in (200, 400)

    @pytest.mark.parametrize("sort", ["-pushed", "pushed", "name", "-name"])
    def test_tags_page_is_paginated_in_every_order(
        self, repoadmin: Client, web: Repository, sort: str
    ) -> None:
        names = [f"t{number}" if number % 2 else f"T{number}" for number in range(60)]
        for tag in names:
            factories.record("update_tag", web, tag=tag)

        url, seen = f"{URL}?sort={sort}", []
        while url:
            html = repoadmin.get(url).content.decode()
            seen.append([row["Tag"] for row in rows(repoadmin, url)])
            following = re.search('rel="next" href="([^"]*)"', html)
            url = URL + following.group(1).replace("&amp;", "&") if following else ""

        assert [len(page) for page in seen] == [25, 25, 10]
        assert {tag for page in seen for tag in page} == set(names)

    def test_tags_page_takes_as_many_queries_for_many_tags_as_for_one(
        self, repoadmin: Client, web: Repository
    ) -> None:
        def count() -> int:
            with CaptureQueriesContext(connection) as queries:
                rows(repoadmin)
            return len(queries)

        factories.record("update_tag", web, tag="v0")
        few = count()
        for number in range(1, 20):
            jane = factories.UserFactory().username
            factories.record("update_tag", web, tag=f"v{number}", digest=DIGESTS[0], actor_name=jane)
            factories.record("get_tag", web, tag=f"v{number}", digest=DIGESTS[0])

        assert count() == few

    def test_empty_tags_page_shows_a_hint(self, reader: Client, repoadmin: Client) -> None:
        assert "Nothing has been pushed yet" in reader.get(URL).content.decode()
        assert "docker push localhost:5000/acme/web:TAG" in repoadmin.get(URL).content.decode()

    def test_tags_page_does_not_show_tags_of_a_deleted_repository_with_the_same_name(
        self, reader: Client, web: Repository, log_in: Any
    ) -> None:
        factories.record("update_tag", web, tag="v1")
        web.delete()
        successor = factories.repository("acme/web")

        assert rows(log_in(factories.user_with("level_read", successor))) == []


@pytest.mark.parametrize(
    ("tag", "image", "kind"),
    [
        ("sha256-" + "0a" * 32, "sha256:" + "0a" * 32, "Referrers"),
        ("sha256-" + "0a" * 32 + ".sig", "sha256:" + "0a" * 32, "Signature"),
        ("sha256-" + "0a" * 32 + ".att", "sha256:" + "0a" * 32, "Attestation"),
        ("sha256-" + "0a" * 32 + ".sbom", "sha256:" + "0a" * 32, "SBOM"),
        ("sha256-" + "0a" * 32 + ".0123.meta", "sha256:" + "0a" * 32, "Attachment .0123.meta"),
        ("sha384-" + "0a" * 48 + ".sig", "sha384:" + "0a" * 32, "Signature"),
        ("sha512-" + "0a" * 64, "sha512:" + "0a" * 32, "Referrers"),
        ("sha512-" + "0a" * 32, "sha512:" + "0a" * 32, "Referrers"),
    ],
)
def test_names_of_attachments_are_recognized(tag: str, image: str, kind: str) -> None:
    assert (names.image_of_tag(tag), names.attachment_kind(tag)) == (image, kind)


@pytest.mark.parametrize(
    "tag",
    [
        "v1",
        "v1.sig",
        "sha256-" + "0a" * 31,
        "sha256-" + "0a" * 33,
        "sha256-" + "0A" * 32,
        "sha256-" + "0a" * 32 + ".",
        "sha256-" + "0a" * 32 + "-debug",
        "v1-sha256-" + "0a" * 32,
        "sha512-" + "0a" * 48,
        "sha999-" + "0a" * 32,
    ],
)
def test_other_tags_are_not_attachments(tag: str) -> None:
    assert names.image_of_tag(tag) == ""


@given(st.sampled_from([("sha256", 64), ("sha384", 96), ("sha512", 128)]), st.data())
def test_attachment_belongs_to_the_image_whose_digest_is_in_its_name(algorithm: Any, data: Any) -> None:
    name, length = algorithm
    digest = data.draw(st.text("0123456789abcdef", min_size=length, max_size=length))
    tag = f"{name}-{digest}{data.draw(st.sampled_from(['', '.sig', '.att', '.sbom']))}"

    assert names.image_of_tag(tag) == names.digest_stem(f"{name}:{digest}")
    assert names.is_attachment(tag, factories.DIGEST) or digest == factories.DIGEST
    assert not names.is_attachment(tag, f"{name}:{digest}")


IMAGE, OTHER_IMAGE = DIGESTS
SIGNATURE = IMAGE.replace(":", "-") + ".sig"
SBOM = IMAGE.replace(":", "-") + ".sbom"


def attachments(client: Client, url: str = URL, **query: Any) -> list[tuple[str, ...]]:
    """Return the name of each tag on the page, with the kind and the name of each attachment under it."""
    html = client.get(url, query).content.decode()
    found: list[tuple[str, ...]] = []
    for is_attachment, cell in re.findall(
        r'<tr( class="attachment")?>\s*<td[^>]*>(.*?)</td>', html, re.DOTALL
    ):
        words = re.sub("<[^>]*>", " ", cell).split()
        if is_attachment:
            found[-1] += (" ".join(words),)
        else:
            found.append((" ".join(words),))
    return found


class TestAttachments:
    def record_attachment(self, web: Repository, tag: str, **values: Any) -> None:
        digest = f"sha256:{hashlib.sha256(tag.encode()).hexdigest()}"
        factories.record("update_tag", web, tag=tag, **{"digest": digest, **values})

    def test_attachments_are_listed_under_each_tag_of_their_image(
        self, reader: Client, web: Repository
    ) -> None:
        for tag, digest in (("v1", IMAGE), ("latest", IMAGE), ("v2", OTHER_IMAGE)):
            factories.record("update_tag", web, tag=tag, digest=digest)
        self.record_attachment(web, SIGNATURE)
        self.record_attachment(web, SBOM)
        self.record_attachment(web, OTHER_IMAGE.replace(":", "-"))

        of_image = (f"SBOM {SBOM}", f"Signature {SIGNATURE}")
        assert attachments(reader) == [
            ("v2", f"Referrers {OTHER_IMAGE.replace(':', '-')}"),
            ("latest", *of_image),
            ("v1", *of_image),
        ]

    def test_attachments_have_the_same_columns_as_tags(
        self, reader: Client, repoadmin: Client, web: Repository
    ) -> None:
        factories.record("update_tag", web, tag="v1", digest=IMAGE)
        self.record_attachment(web, SIGNATURE, digest=OTHER_IMAGE, actor_name="signer")
        factories.record("get_tag", web, tag=SIGNATURE, digest=OTHER_IMAGE)

        page = reader.get(URL).content.decode()
        attachment = page[page.index('<tr class="attachment">') :]
        assert "sha256:bbbbbbbb" in attachment
        assert '<td data-label="Pushed by">signer</td>' in attachment
        assert f'href="/repositories/acme/web/activity/?tag={SIGNATURE}"' in attachment
        assert "pulled" not in page.lower()
        page = repoadmin.get(URL).content.decode()
        assert '<td data-label="Pulls">1</td>' in page[page.index('<tr class="attachment">') :]

    def test_attachment_without_a_tag_of_its_image_is_listed_with_the_digest(
        self, reader: Client, web: Repository
    ) -> None:
        factories.record("update_tag", web, tag="v1", digest=IMAGE)
        self.record_attachment(web, SIGNATURE)
        factories.record("update_tag", web, tag="v1", digest=OTHER_IMAGE)

        assert attachments(reader) == [("v1",), (f"{SIGNATURE} Signature of sha256:aaaaaaaa",)]

        factories.record("update_tag", web, tag="v1", digest=IMAGE)
        assert attachments(reader) == [("v1", f"Signature {SIGNATURE}")]
        factories.record("delete_manifest", web, digest=IMAGE)
        assert attachments(reader) == [(f"{SIGNATURE} Signature of sha256:aaaaaaaa",)]
        factories.record("delete_tag", web, tag=SIGNATURE)
        assert attachments(reader) == []

    def test_tags_never_hide_each_other(self, reader: Client, web: Repository) -> None:
        """Tags can be named after the digest that they point to, or after each other's digests."""
        named_after_itself = IMAGE.replace(":", "-") + ".imgpkg"
        factories.record("update_tag", web, tag=named_after_itself, digest=IMAGE)
        for digest, other in (("c" * 64, "d" * 64), ("d" * 64, "c" * 64)):
            factories.record("update_tag", web, tag=f"sha256-{other}.sig", digest=f"sha256:{digest}")

        assert [name for name, *_ in attachments(reader)] == [
            f"sha256-{'c' * 64}.sig Signature of sha256:cccccccc",
            f"sha256-{'d' * 64}.sig Signature of sha256:dddddddd",
            named_after_itself,
        ]

    def test_attachments_of_another_repository_are_not_listed(self, reader: Client, web: Repository) -> None:
        factories.record("update_tag", web, tag="v1", digest=IMAGE)
        self.record_attachment(factories.repository("acme/other"), SIGNATURE)

        assert attachments(reader) == [("v1",)]

    def test_search_finds_an_attachment_with_its_image(self, reader: Client, web: Repository) -> None:
        factories.record("update_tag", web, tag="v1", digest=IMAGE)
        factories.record("update_tag", web, tag="v2", digest=OTHER_IMAGE)
        for number in range(12):
            self.record_attachment(web, f"{IMAGE.replace(':', '-')}.a{number}")
        self.record_attachment(web, SIGNATURE)

        ((tag, *found),) = attachments(reader, q=SIGNATURE[20:])
        assert tag == "v1"
        assert f"Signature {SIGNATURE}" in found
        assert attachments(reader, q="v2") == [("v2",)]
        assert attachments(reader, q=".att") == []

    def test_limited_number_of_attachments_is_shown(self, reader: Client, web: Repository) -> None:
        factories.record("update_tag", web, tag="v1", digest=IMAGE)
        for number in range(13):
            self.record_attachment(web, f"{IMAGE.replace(':', '-')}.a{number}")

        ((tag, *shown, more),) = attachments(reader)
        assert (tag, len(shown), more) == ("v1", 10, "And 3 more.")

    def test_attachments_take_one_query_and_no_places_on_the_page(
        self, repoadmin: Client, web: Repository
    ) -> None:
        for number in range(30):
            digest = f"sha256:{number:064}"
            factories.record("update_tag", web, tag=f"v{number}", digest=digest)
            if number == 0:
                with CaptureQueriesContext(connection) as queries:
                    rows(repoadmin)
            self.record_attachment(web, f"sha256-{number:064}.sig")
            self.record_attachment(web, f"sha256-{number:064}")

        with CaptureQueriesContext(connection) as more_queries:
            first = attachments(repoadmin)
        following = repoadmin.get(URL).context["page"].next
        second = attachments(repoadmin, cursor=following)

        assert len(more_queries) == len(queries)
        assert [tag for tag, *_ in first + second] == [f"v{number}" for number in reversed(range(30))]
        assert {len(row) for row in first + second} == {3}

    @pytest.mark.skipif(
        connection.vendor != "sqlite", reason="PostgreSQL doesn't use indexes of small tables"
    )
    def test_attachments_are_found_through_indexes(self, web: Repository) -> None:
        assert "SCAN" not in stored_attachments.listed_tags(web, "v1").order_by("-last_push").explain()

    def test_referrers_that_oras_pushed_are_listed_under_the_image(self, registry: Any, log_in: Any) -> None:
        capture = capture_files.read(capture_files.FOLDER / "clients" / "oras-attach-discover.jsonl")
        image = capture.notifications[0]["target"]["digest"]
        registry(factories.notification(target={"repository": "acme/r1-x", "tag": "v1", "digest": image}))
        for message in capture.messages:
            registry(body=message.encode())

        admin = log_in(factories.msr_admin())
        assert attachments(admin, "/repositories/acme/r1-x/tags/") == [
            ("v1", f"Referrers {image.replace(':', '-')}")
        ]
