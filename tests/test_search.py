"""The search language for events, and searches that read only a limited number of events per page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity.feed import conditions, plans, reading, search
from activity.feed.ordering import BY_TIME
from activity.feed.qualifiers import QUALIFIERS, Qualifier
from activity.feed.search_language import Search, Term, parse, quoted
from activity.models import ActorType, Event
from repositories.models import Repository
from repositories.utils.keyset import InvalidCursor
from tests import factories
from tests.factories import DIGEST, NOON, SEES_EVERYTHING

BERLIN = ZoneInfo("Europe/Berlin")


def parse_query(text: str) -> Search:
    return parse(text, BERLIN, now=NOON)


class TestLanguage:
    def test_query_is_parsed_into_terms(self) -> None:
        search = parse_query(
            "repo:acme/web tag:v1 actor:repoadmin type:delete digest:sha256:09 ip:10.0.0.7"
            " after:2026-11-01 before:2026-11-08 -type:get"
        )

        assert search == Search(
            terms=(
                Term("repo", "acme/web"),
                Term("tag", "v1"),
                Term("actor", "repoadmin"),
                Term("type", "DELETE"),
                Term("digest", "sha256:09"),
                Term("ip", "10.0.0.7"),
                Term("type", "GET", negated=True),
            ),
            after=datetime(2026, 10, 31, 23, tzinfo=UTC),
            before=datetime(2026, 11, 7, 23, tzinfo=UTC),
        )

    @pytest.mark.parametrize(
        ("text", "term"),
        [
            ("acme/web", "repo:acme/web"),
            ("acme/web:v1", "repo:acme/web:v1"),
            ("_/alpine", "repo:alpine"),
            ("alpine:3.20", "repo:alpine:3.20"),
            ("repository:acme/team/web", "repo:acme/team/web"),
            ("repo:Alpine:V1", "repo:alpine:V1"),
            ("org:acme", "organization:acme"),
            ("project:acme", "namespace:acme"),
            ("username:jane", "actor:jane"),
            ("SYSTEM", "actor:SYSTEM"),
            ('"PRUNING 500004C0"', 'actor:"PRUNING 500004C0"'),
            ('actor:"dana,li"', 'actor:"dana,li"'),
            ("digest:sha256:bbf09ba3…", "digest:sha256:bbf09ba3"),
            ("ada", "actor:ada"),
            ("jane", "actor:jane"),
            ("-jane", "-actor:jane"),
            ("user:jane", "actor:jane"),
            ('actor:"jane doe"', 'actor:"jane doe"'),
            (r'actor:"a\"b\\c"', r'actor:"a\"b\\c"'),
            ('"Delete Tag"', 'label:"Delete Tag"'),
            ("label:policy", "label:policy"),
            ("sha256:09AB", "digest:sha256:09ab"),
            ("digest:09ab", "digest:sha256:09ab"),
            ("TYPE:Delete", "type:DELETE"),
            ("category:create-repo", "category:create_repo"),
            ("actor-type:Push-Mirroring", "actor-type:push_mirroring"),
            ("kind:delete_tag", "kind:delete_tag"),
            ("namespace:_", "namespace:_"),
            ("ip:[FD00::0007]", "ip:fd00::7"),
            ("01a20314-db6f-7c5e-8567-085707aa40d7", "id:01a20314-db6f-7c5e-8567-085707aa40d7"),
            ("request:<b>", "request:<b>"),
        ],
    )
    def test_query_accepts_several_notations_of_a_term(self, text: str, term: str) -> None:
        search = parse_query(text)

        assert (search.problems, [str(term) for term in search.terms]) == ((), [term])

    @pytest.mark.parametrize(
        ("text", "after", "before"),
        [
            ("after:2026-11-22", "2026-11-21T23:00", None),
            ("before:2026-11", None, "2026-10-31T23:00"),
            ("after:2026", "2025-12-31T23:00", None),
            ("on:2026-11-22", "2026-11-21T23:00", "2026-11-22T23:00"),
            ("on:2026-10-25", "2026-10-24T22:00", "2026-10-25T23:00"),
            ("on:2026-12", "2026-11-30T23:00", "2026-12-31T23:00"),
            ("on:today", "2026-11-21T23:00", "2026-11-22T23:00"),
            ("on:yesterday", "2026-11-20T23:00", "2026-11-21T23:00"),
            ("after:2026-11-22T10:30", "2026-11-22T09:30", None),
            ("after:2026-11-22T10:30Z", "2026-11-22T10:30", None),
            ("after:2026-11-22T10:30-08:00", "2026-11-22T18:30", None),
            ("after:7d", "2026-11-15T12:00", None),
            ("after:monday", "2026-11-15T23:00", None),
            ("on:Sunday", "2026-11-21T23:00", "2026-11-22T23:00"),
            ("before:SAT", None, "2026-11-20T23:00"),
            ("on:TODAY", "2026-11-21T23:00", "2026-11-22T23:00"),
            ("after:24h before:1h", "2026-11-21T12:00", "2026-11-22T11:00"),
            ("after:2026-11-01 after:2026-11-02", "2026-11-01T23:00", None),
        ],
    )
    def test_query_times_are_parsed_in_the_users_time_zone(
        self, text: str, after: str | None, before: str | None
    ) -> None:
        search = parse_query(text)

        assert search.problems == ()
        assert [search.after, search.before] == [
            datetime.fromisoformat(f"{moment}+00:00") if moment else None for moment in (after, before)
        ]

    @pytest.mark.parametrize(
        ("text", "after", "notice"),
        [
            ("after:2026-10-25T02:30", "2026-10-25T00:30", "occurred twice"),
            ("after:2026-10-25T02:30+01:00", "2026-10-25T01:30", ""),
            ("after:2026-03-29T02:30", "2026-03-29T01:30", "03:30 CEST is used"),
        ],
    )
    def test_time_that_a_clock_change_repeats_or_skips_is_mentioned(
        self, text: str, after: str, notice: str
    ) -> None:
        search = parse_query(text)

        assert search.after == datetime.fromisoformat(f"{after}+00:00")
        assert [notice in text for text in search.notices] == ([True] if notice else [])

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("tpye:delete", "'tpye:' is not a search term. Did you mean 'type:'?"),
            ("type:delte", "type:delte is not valid. Did you mean delete?"),
            ("category:x", "Valid values: push, scan, delete"),
            ("label:nonsense", "no label contains all of these words"),
            ("ip:10.0.0", "is not an IP address"),
            ("id:7", "is not an event ID"),
            ("digest:xyz", "is not a digest"),
            ("repo:a_-b", "is not a repository"),
            ("tag:acme/web:v1", "Write repo:acme/web:v1"),
            ("tag:/", "is not a tag"),
            ("digest:sha256:", "is not a digest"),
            ("delete tag", 'Write label:"delete tag"'),
            ("jane joe", "write actor:jane actor:joe"),
            ("a OR b", "OR has no meaning"),
            ("actor:a AND actor:b", "AND has no meaning"),
            ("NOT actor:a", "NOT has no meaning"),
            ("actor:dana,li", "write actor:dana actor:li"),
            ("actor:dana|li", "write actor:dana actor:li"),
            ("type:delete|type:fail", "write type:delete type:fail."),
            ("type:delete,tag:v1", "write type:delete tag:v1."),
            ("type=delete", "Write type:delete or actor:type=delete."),
            ("type：delete", "Write type:delete or"),
            ("actor:da*", "has no meaning"),
            ("(actor:dana)", "has no meaning"),
            ("actor:“dana”", "straight quotation marks"),
            ("–dana", "has no meaning"),
            ("on:7d", "Write after:7d"),
            ("on:2026-11-22T12:00Z", "is not a day"),
            ("bbf09ba3", "digest:bbf09ba3"),
            ("09ab", "digest:09ab"),
            ("deadbeef", "digest:deadbeef"),
            ("delete", "type:delete"),
            ("push", "category:push"),
            ("2026-11-22", "on:2026-11-22"),
            ("yesterday", "on:yesterday"),
            ("7d", "after:7d"),
            ("10.0.0.7", "ip:10.0.0.7"),
            ("operation:delete", "Use type: or category:"),
            ("created:2026-11-01", "Use after:, before: or on:"),
            ("op_time:2026-11-01", "Use after:, before: or on:"),
            ("action:delete", "Use kind:"),
            ("type:push", "Did you mean category:push"),
            ("acme/web:v1:v2", "is not a repository"),
            ("namespace:A-", "is not a namespace"),
            ("actor:", "needs a value"),
            ('actor:"jane', "quotation mark"),
            ('ja"ne', "quotation mark"),
            ("-", "a value is missing"),
            ("after:2026-13", "is not a time"),
            ("after:9999-12-31", "is not a time"),
            ("on:9999", "is not a time"),
            ("before:0001-01-01", "is not a time"),
            ("after:9999y", "is not a time"),
            ("-after:7d", "can't be negated"),
            ("tag:\0", "NUL"),
            ("x" * 2001, "longer than"),
            ("x " * 41, "more than 40"),
        ],
    )
    def test_problem_of_an_invalid_query_is_reported(self, text: str, problem: str) -> None:
        (message,) = parse_query(text).problems

        assert problem in message

    @given(st.text())
    def test_query_can_be_any_text(self, text: str) -> None:
        search = parse_query(text)

        assert text.isspace() or not text or search != Search()

    @given(st.lists(st.tuples(st.sampled_from([*QUALIFIERS, "x"]), st.text(max_size=20)), max_size=5))
    def test_query_terms_can_have_any_value(self, terms: list[tuple[str, str]]) -> None:
        parse_query(" ".join(f"{name}:{value}" for name, value in terms))

    @given(
        value=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
        name=st.sampled_from(["actor", "request"]),
        negated=st.booleans(),
    )
    def test_formatted_terms_and_quoted_values_are_parsed_unchanged(
        self, name: str, value: str, negated: bool
    ) -> None:
        term = Term(name, value, negated)

        assert parse_query(f"{term} {term}").terms == (term, term)
        assert parse_query(f"-actor:{quoted(value)}").values("actor", negated=True) == [value]


# --- Finding events -----------------------------------------------------------------------------


class TestQualifiers:
    @pytest.mark.parametrize("qualifier", QUALIFIERS.values(), ids=QUALIFIERS)
    def test_examples_use_their_qualifier(self, qualifier: Qualifier) -> None:
        for query in map(parse_query, qualifier.examples):
            assert query.problems == ()
            assert bool(query.after or query.before) == bool(qualifier.time_range)
            assert [term.name for term in query.terms] == ([] if qualifier.time_range else [qualifier.name])

    def test_documentation_lists_all_qualifiers(self) -> None:
        text = (Path(__file__).parent.parent / "docs/using.md").read_text()
        table = text.partition("| term | matches |\n| --- | --- |\n")[2].partition("\n\n")[0]

        assert table.splitlines() == [
            f"| {', '.join(f'`{example}`' for example in qualifier.examples)} | {qualifier.meaning} |"
            for qualifier in QUALIFIERS.values()
        ]


ADDRESSES = ["10.0.0.7", "10.0.0.70", "10.0.0.7", "fd00::7"]


@pytest.fixture
def events(db: None) -> None:
    """Twelve events, one hour apart, with the tags "a" to "l"."""
    for name in ("acme/web", "acme/api", "alpine", "globex/app"):
        factories.repository(name)
    for number, (kind, repository, actor) in enumerate(
        [
            ("update_tag", "acme/web", "jane"),
            ("get_tag", "acme/web", "joe"),
            ("delete_tag", "acme/api", "jane"),
            ("update_tag", "alpine", "joe"),
            ("get_tag", "acme/web", "jane"),
            ("promote", "acme/web", "CA5E7822"),
            ("delete_manifest", "acme/web", "joe"),
            ("get_manifest", "globex/app", ""),
            ("scan_failed", "acme/web", "jane"),
            ("create_promotion_policy", "acme/web", "jane"),
            ("get_tag", "acme/api", "mallory"),
            ("delete_promotion_policy", "acme/web", "jane"),
        ]
    ):
        types = {"": ActorType.ANONYMOUS, "CA5E7822": ActorType.PROMOTION}
        factories.record(
            kind,
            repository,
            tag="abcdefghijkl"[number],
            actor_name=actor,
            actor_type=types.get(actor, ActorType.USER),
            digest=f"sha256:{number:02}{DIGEST[-62:]}" if number % 2 else "",
            occurred_at=NOON + timedelta(hours=number),
            details={"client_address": ADDRESSES[number % 4], "request_id": f"r{number // 2}"}
            if number < 8
            else {},
        )


EXPECTED_TAGS = [
    ("", "lkjihgfedcba"),
    ("repo:acme/web", "ljigfeba"),
    ("repo:acme/web repo:alpine", "ljigfedba"),
    ("acme/web:b alpine:d", "db"),
    ("acme/web:d", ""),
    ("-repo:acme/web", "khdc"),
    ("-repo:acme/web:b", "lkjihgfedca"),
    ("-repo:no/such", "lkjihgfedcba"),
    ("namespace:acme", "lkjigfecba"),
    ("namespace:acme repo:acme/api", "kc"),
    ("namespace:_", "d"),
    ("-namespace:acme", "hd"),
    ("tag:a tag:c", "ca"),
    ("-tag:a", "lkjihgfedcb"),
    ("actor:jane", "ljieca"),
    ("actor:jane actor:joe", "ljigedcba"),
    ("actor:anonymous", "h"),
    ("-actor:jane", "khgfdb"),
    ("actor:jane repo:acme/web", "ljiea"),
    ("actor:CA5E7822", "f"),
    ("actor-type:promotion actor-type:anonymous", "hf"),
    ("type:delete", "lgc"),
    ("-type:get", "ljigfdca"),
    ("type:get actor:jane", "e"),
    ("category:pull", "kheb"),
    ("-category:pull", "ljigfdca"),
    ("-category:pull -category:push", "ljigfc"),
    ("category:promotion", "ljf"),
    ("category:promotion type:delete", "l"),
    ("category:push type:delete", ""),
    ("type:delete -kind:delete_tag", "lg"),
    ("kind:delete_tag", "c"),
    ("label:promotion", "ljf"),
    ("label:policy type:create", "j"),
    ("digest:sha256:03", "d"),
    ("digest:01 digest:03", "db"),
    ("ip:10.0.0.7", "geca"),
    ("ip:fd00::7", "hd"),
    ("-ip:10.0.0.7", "lkjihfdb"),
    ("request:r1", "dc"),
    ("-request:r1", "lkjihgfeba"),
    ("category:pull -type:get", ""),
    ("category:pull -category:pull", ""),
    ("category:push category:promotion -kind:promote", "ljda"),
    ("after:2026-11-22T20:00Z", "lkji"),
    ("before:2026-11-22T15:00Z type:get", "b"),
    ("organization:acme", "lkjigfecba"),
    ("org:globex -tag:x", "h"),
    ("actor:JANE", "ljieca"),
    ("actor:Joe -type:get", "gd"),
    ('actor:"PROMOTION CA5E7822"', "f"),
    ('actor:"promotion ca5e7822"', "f"),
    ("actor:PROMOTION actor:anonymous", "hf"),
    ("PROMOTION", "f"),
    ("-actor:promotion repo:acme/web", "ljigeba"),
]


@pytest.mark.django_db
@pytest.mark.usefixtures("events")
class TestFinding:
    @pytest.mark.parametrize(("text", "tags"), EXPECTED_TAGS)
    def test_search_finds_the_matching_events(self, text: str, tags: str) -> None:
        assert "".join(find_tags(text)) == tags

    @pytest.mark.parametrize(("text", "tags"), EXPECTED_TAGS)
    @pytest.mark.parametrize("max_events_read", [4, 20])
    def test_search_pages_can_be_followed_in_both_directions(
        self, text: str, tags: str, max_events_read: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reading, "MAX_EVENTS_READ", max_events_read)
        monkeypatch.setattr(conditions, "MAX_BRANCHES", 4)

        oldest = BY_TIME.encode(Event(pk=UUID(int=1)), reverse=True)

        assert "".join(collect_tags(text, None, "older")) == tags
        assert "".join(collect_tags(text, oldest, "newer")) == tags[::-1]

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("repo:acme/wbe", "no repository called acme/wbe that you can see. The nearest is acme/web."),
            ("organization:acmi", "no organization called acmi that you can see. The nearest is acme."),
            ("namespace:nobody", "no namespace with repositories called nobody that you can see."),
            ("tpye:delete", "Did you mean 'type:'?"),
        ],
    )
    def test_search_with_a_problem_finds_nothing(self, text: str, problem: str) -> None:
        plan = plan_query(text)

        assert problem in plan.problems[0]
        assert reading.find(plan, 10).rows == []
        assert not plan.events().exists()

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("after:2026-11-02 before:2026-11-01", "No time is at or after 2026-11-01 23:00 and before"),
            ("on:monday on:tuesday", "No time is"),
            ("category:push type:get", "No kind of event matches all of these terms."),
            ("actor:jane -actor:jane", "No event matches both actor:jane and -actor:jane."),
        ],
    )
    def test_contradiction_is_a_problem(self, text: str, problem: str) -> None:
        assert plan_query(text).problems[0].startswith(problem)

    def test_excluded_name_that_does_not_exist_is_mentioned(self) -> None:
        plan = plan_query("-repo:acme/wbe")

        assert (plan.problems, plan.notices) == (
            [],
            ["There is no repository called acme/wbe that you can see. The nearest is acme/web."],
        )

    def test_contradiction_is_detected_without_reading_events(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reading, "MAX_EVENTS_READ", 1)

        for text in ("category:push type:get", "category:push type:get ip:10.0.0.7"):
            assert reading.find(plan_query(text), 10) == reading.EventPage([])

    def test_search_rejects_an_invalid_cursor(self) -> None:
        with pytest.raises(InvalidCursor):
            reading.find(plan_query(""), 10, "x")

    def test_search_finds_an_event_by_id(self) -> None:
        event = Event.objects.get(tag="d")

        assert find_tags(str(event.pk)) == ["d"]
        assert find_tags(f"id:{event.pk} type:get") == []

    def test_search_reports_how_far_it_got(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reading, "MAX_EVENTS_READ", 5)

        page = reading.find(plan_query("tag:j"), 10)

        assert [event.tag for event in page.rows] == ["j"]
        assert page.searched_to == NOON + timedelta(hours=7)

    def test_search_of_quiet_repositories_ends_with_the_first_event(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(plans, "MAX_DESCENTS", 12)  # six months, up to before the first event
        monkeypatch.setattr(reading, "MAX_EVENTS_READ", 24)
        for month, day in product(range(6, 11), range(10, 16)):
            factories.record("update_tag", "acme/busy", occurred_at=datetime(2026, month, day, tzinfo=UTC))

        page = reading.find(plan_query("repo:acme/web ip:192.0.2.9"), 10)

        assert (page.rows, page.searched_to) == ([], None)

    def test_search_uses_the_index_that_gets_farthest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        factories.PolicyFactory(public_id="CA5E7822", repository=Repository.objects.get(name="web"))
        monkeypatch.setattr(reading, "MAX_EVENTS_READ", 3)

        page = reading.find(plan_query("repo:acme/web actor:CA5E7822"), 10)

        assert ([event.tag for event in page.rows], page.searched_to) == (["f"], None)


def find_tags(text: str) -> list[str]:
    return collect_tags(text, None, "older", size=20)


@pytest.mark.django_db
@pytest.mark.parametrize(("algorithm", "length"), [("sha256", 64), ("sha384", 96), ("sha512", 128)])
def test_event_is_found_by_any_beginning_of_its_digest(algorithm: str, length: int) -> None:
    factories.record(tag="v1", digest=f"{algorithm}:{'ab' * (length // 2)}")

    for digits in (8, 63, 64, 96, length):
        if digits <= length:
            assert find_tags(f"digest:{algorithm}:{('ab' * 64)[:digits]}") == ["v1"]


def plan_query(text: str) -> plans.Plan:
    return search.plan(plans.Plan(Event.objects.all(), SEES_EVERYTHING), parse_query(text))


def collect_tags(text: str, cursor: str | None, direction: str, size: int = 2) -> list[str]:
    """Follow the pages in a direction, and return the tags of their events.

    If the direction is "older", the tags are ordered from newest to oldest, otherwise from oldest to newest.
    """
    plan, tags = plan_query(text), []
    while True:
        page = reading.find(plan, size, cursor)
        names = [event.tag for event in page.rows]
        tags += names if direction == "older" else names[::-1]
        cursor = getattr(page, direction)
        if cursor is None:
            return tags
