"""Policy criteria match the expected tags and accept only valid values. Tag templates produce valid tags."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from repositories import names
from repositories.models import Criterion
from repositories.policies import tag_templates
from repositories.policies.criteria import (
    NUMERIC_LIMITS,
    Operator,
    TagActivity,
    clean_value,
    find_conflict,
    matching_tags,
)
from repositories.policies.models import in_words

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def criteria(*pairs: tuple[str, str]) -> list[Criterion]:
    return [Criterion(operator=operator, value=value) for operator, value in pairs]


def matched(tags: list[TagActivity], *pairs: tuple[str, str]) -> list[str]:
    return [tag.name for tag in matching_tags(tags, criteria(*pairs), NOW)]


class TestNames:
    @pytest.mark.parametrize(
        ("operator", "value", "tags"),
        [
            ("equals", "v1", ["v1"]),
            ("starts_with", "v", ["v1", "v1-rc"]),
            ("ends_with", "-rc", ["v1-rc"]),
            ("contains", "1-", ["v1-rc"]),
            ("one_of", "v1, latest", ["v1", "latest"]),
            ("not_one_of", "v1, latest", ["v1-rc"]),
        ],
    )
    def test_name_criterion_matches_tags(self, operator: str, value: str, tags: list[str]) -> None:
        assert (
            matched([TagActivity(name, NOW) for name in ("v1", "v1-rc", "latest")], (operator, value)) == tags
        )

    def test_tag_must_meet_all_criteria(self) -> None:
        tags = [TagActivity("v1", NOW), TagActivity("v1-rc", NOW), TagActivity("x-rc", NOW)]

        assert matched(tags, ("starts_with", "v"), ("ends_with", "-rc")) == ["v1-rc"]

    def test_all_tags_match_without_criteria(self) -> None:
        assert matched([TagActivity("a", NOW), TagActivity("b", NOW)]) == ["a", "b"]


class TestAges:
    def test_tag_of_exactly_the_maximum_age_does_not_match(self) -> None:
        tags = [
            TagActivity("older", days_ago(30.001)),
            TagActivity("exact", days_ago(30)),
            TagActivity("new", NOW),
        ]

        assert matched(tags, ("pushed_before", "30")) == ["older"]

    def test_push_counts_as_a_pull(self) -> None:
        tags = [
            TagActivity("forgotten", days_ago(200), days_ago(100)),
            TagActivity("pulled", days_ago(200), days_ago(1)),
            TagActivity("never-pulled", days_ago(200)),
            TagActivity("pushed-again", days_ago(1), days_ago(100)),
        ]

        assert matched(tags, ("not_pulled_for", "90")) == ["forgotten", "never-pulled"]

    def test_newest_tags_are_counted_among_tags_with_matching_names(self) -> None:
        tags = [
            TagActivity("v2", days_ago(2)),
            TagActivity("v1", days_ago(3)),
            TagActivity("latest", days_ago(1)),
        ]

        assert matched(tags, ("all_but_newest", "1"), ("starts_with", "v")) == ["v1"]

    def test_newest_tags_are_kept_at_any_age(self) -> None:
        tags = [TagActivity("v2", days_ago(200)), TagActivity("v1", days_ago(300))]

        assert matched(tags, ("pushed_before", "90"), ("all_but_newest", "1")) == ["v1"]


IMAGE, OTHER_IMAGE = (digit * 64 for digit in "12")


class TestAttachments:
    """Signatures, attestations, SBOMs and referrers stay and go with their image."""

    def tags(self) -> list[TagActivity]:
        image, other = f"sha256:{IMAGE}", f"sha256:{OTHER_IMAGE}"
        return [
            TagActivity(f"sha256-{IMAGE}.sig", days_ago(1), None, "sha256:" + "a" * 64),
            TagActivity(f"sha256-{OTHER_IMAGE}", days_ago(1), None, "sha256:" + "b" * 64),
            TagActivity("v2", days_ago(2), None, image),
            TagActivity("v1", days_ago(3), None, other),
            TagActivity("v0", days_ago(4), None, other),
            # A signature of the signature, and a signature of an image without a tag
            TagActivity("sha256-" + "a" * 64 + ".sig", days_ago(5), None, "sha256:" + "c" * 64),
            TagActivity("sha256-" + "f" * 64 + ".sig", days_ago(600), None, "sha256:" + "d" * 64),
        ]

    def matched_indexes(self, *pairs: tuple[str, str], rule: Any = all) -> list[int]:
        tags = self.tags()
        return [tags.index(tag) for tag in matching_tags(tags, criteria(*pairs), NOW, rule)]

    def test_attachments_are_not_counted_as_the_newest(self) -> None:
        assert self.matched_indexes(("all_but_newest", "1")) == [1, 3, 4]
        assert self.matched_indexes(("all_but_newest", "3")) == []

    def test_attachments_stay_while_a_tag_points_to_their_image(self) -> None:
        assert self.matched_indexes(("equals", "v1")) == [3]
        assert self.matched_indexes(("one_of", "v0, v1")) == [1, 3, 4]

    def test_attachments_are_copied_with_any_tag_of_their_image(self) -> None:
        assert self.matched_indexes(("equals", "v1"), rule=any) == [1, 3]
        assert self.matched_indexes(("starts_with", "w"), rule=any) == []

    def test_attachments_of_attachments_go_with_the_image(self) -> None:
        assert self.matched_indexes(("equals", "v2")) == [0, 2, 5]

    def test_criteria_do_not_select_attachments_themselves(self) -> None:
        assert self.matched_indexes(("ends_with", ".sig")) == []
        assert self.matched_indexes(("equals", f"sha256-{IMAGE}.sig")) == []
        assert self.matched_indexes(("pushed_before", "400")) == []
        assert self.matched_indexes(("not_one_of", "v0, v1, v2")) == []

    def test_attachments_without_an_image_stay(self) -> None:
        assert self.matched_indexes() == [0, 1, 2, 3, 4, 5]

    def test_tag_named_after_the_digest_that_it_points_to_is_not_an_attachment(self) -> None:
        tag = TagActivity(f"sha256-{IMAGE}.imgpkg", NOW, None, f"sha256:{IMAGE}")

        assert matching_tags([tag], criteria(("starts_with", "sha256-")), NOW) == [tag]


attachment_names = st.builds(
    "sha256-{}{}".format,
    st.sampled_from("1234").map(lambda digit: digit * 64),
    st.sampled_from(["", ".sig", ".sbom"]),
)
tag_names = st.text("ab", min_size=1, max_size=3)
digests = st.just("") | st.sampled_from("1234").map(lambda digit: f"sha256:{digit * 64}")
moments = st.integers(0, 6).map(days_ago)
tag_lists = st.lists(
    st.builds(TagActivity, tag_names | attachment_names, moments, st.none() | moments, digests),
    max_size=8,
    unique_by=lambda tag: tag.name,
)
any_criteria = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["equals", "starts_with", "ends_with", "contains"]), tag_names),
        st.tuples(st.sampled_from(["one_of", "not_one_of"]), st.lists(tag_names, min_size=1).map(", ".join)),
        st.tuples(st.sampled_from(list(NUMERIC_LIMITS)), st.integers(1, 5).map(str)),
    ),
    max_size=4,
)


def matched_by_reference(tags: list[TagActivity], pairs: list[tuple[str, str]]) -> list[str]:
    """Return the names of the matching tags. This reference implementation checks one tag at a time."""
    by_name = {
        "equals": lambda tag, value: tag.name == value,
        "starts_with": lambda tag, value: tag.name[: len(value)] == value,
        "ends_with": lambda tag, value: tag.name[-len(value) :] == value,
        "contains": lambda tag, value: tag.name.find(value) >= 0,
        "one_of": lambda tag, value: tag.name in value.split(", "),
        "not_one_of": lambda tag, value: tag.name not in value.split(", "),
    }
    images = [tag for tag in tags if not image_of(tag)]
    candidates = [tag for tag in images if all(by_name[o](tag, v) for o, v in pairs if o in by_name)]

    def meets(tag: TagActivity, operator: str, number: int) -> bool:
        if operator == "pushed_before":
            return NOW - tag.pushed_at > timedelta(days=number)
        if operator == "not_pulled_for":
            last = [moment for moment in (tag.pushed_at, tag.last_used_at) if moment]
            return all(NOW - moment > timedelta(days=number) for moment in last)
        newer = [other for other in candidates if (other.pushed_at, other.name) > (tag.pushed_at, tag.name)]
        return len(newer) >= number

    def matches(tag: TagActivity, seen: tuple[TagActivity, ...] = ()) -> bool:
        if tag in seen:
            return False
        if not image_of(tag):
            return tag in candidates and all(meets(tag, o, int(v)) for o, v in pairs if o not in by_name)
        found = [matches(other, (*seen, tag)) for other in tags if other.digest == image_of(tag)]
        return bool(found) and all(found)

    return [tag.name for tag in tags if matches(tag)]


def image_of(tag: TagActivity) -> str:
    """Return the digest of the image that a tag is attached to, or an empty string."""
    image = tag.name[:71].replace("-", ":")
    return image if tag.name.startswith("sha256-") and image != tag.digest else ""


@given(tag_lists, any_criteria)
def test_matching_tags_agree_with_the_reference_implementation(
    tags: list[TagActivity], pairs: list[tuple[str, str]]
) -> None:
    assert matched(tags, *pairs) == matched_by_reference(tags, pairs)


@given(tag_lists, any_criteria)
def test_contradictory_criteria_match_no_tags(tags: list[TagActivity], pairs: list[tuple[str, str]]) -> None:
    if find_conflict(criteria(*pairs)).startswith("No tag"):
        assert matched(tags, *pairs) == []


@given(tag_lists, any_criteria, any_criteria)
def test_additional_numeric_criteria_never_match_more_tags(
    tags: list[TagActivity], pairs: list[tuple[str, str]], additional: list[tuple[str, str]]
) -> None:
    numeric = [pair for pair in additional if pair[0] in NUMERIC_LIMITS]

    assert set(matched(tags, *pairs, *numeric)) <= set(matched(tags, *pairs))


class TestValues:
    @pytest.mark.parametrize(
        ("operator", "text", "value"),
        [
            ("equals", " v1 ", "v1"),
            ("ends_with", "-rc.1", "-rc.1"),
            ("one_of", "v1,v2  v3\nv1", "v1, v2, v3"),
            ("not_pulled_for", " 090 ", "90"),
            ("all_but_newest", "100000", "100000"),
        ],
    )
    def test_criterion_values_are_normalized(self, operator: str, text: str, value: str) -> None:
        assert clean_value(operator, text) == value

    @pytest.mark.parametrize(
        ("operator", "text", "expected"),
        [
            ("equals", "a b", "No tag can match “a b”"),
            ("equals", "", "No tag"),
            ("equals", "v1\n\0", "No tag"),
            ("starts_with", "-rc", "“-rc”"),
            ("starts_with", "x" * 129, "at most 128"),
            ("contains", "é", "“é”"),
            ("one_of", " , ", "at least one tag"),
            ("not_one_of", "v1, :", "“:”"),
            ("not_pulled_for", "0", "from 1 to 36,500"),
            ("not_pulled_for", "-1", "from 1 to 36,500"),
            ("pushed_before", "36501", "from 1 to 36,500"),
            ("pushed_before", "1e3", "whole number"),
            ("pushed_before", "٣", "whole number"),
            ("all_but_newest", "9" * 5000, "whole number"),
        ],
    )
    def test_invalid_criterion_values_are_rejected(self, operator: str, text: str, expected: str) -> None:
        with pytest.raises(ValidationError) as error:
            clean_value(operator, text)

        assert expected in error.value.messages[0]

    @given(st.sampled_from(Operator), st.text())
    def test_normalizing_a_criterion_value_twice_changes_nothing(self, operator: str, text: str) -> None:
        try:
            value = clean_value(operator, text)
        except ValidationError:
            return
        assert clean_value(operator, value) == value

    @pytest.mark.parametrize(
        ("pairs", "expected"),
        [
            (
                [("starts_with", "v"), ("starts_with", "v")],
                "more than one criterion of this kind: tag starts with",
            ),
            ([("not_pulled_for", "1"), ("not_pulled_for", "2")], "more than one criterion of this kind"),
            ([("equals", "a"), ("equals", "b")], "No tag can meet"),
            ([("equals", "a"), ("not_one_of", "a, b")], "No tag can meet"),
            ([("one_of", "a, b"), ("ends_with", "c")], "No tag can meet"),
            ([("one_of", "a, b"), ("one_of", "b, c")], ""),
            ([("starts_with", "v"), ("starts_with", "w")], "No tag can meet"),
            ([("starts_with", "v"), ("starts_with", "v1")], ""),
            ([("ends_with", "-rc"), ("ends_with", "x")], "No tag can meet"),
            ([("starts_with", "v"), ("ends_with", "x"), ("contains", "y"), ("not_one_of", "v")], ""),
            ([("not_pulled_for", "90"), ("all_but_newest", "10")], ""),
            ([], ""),
        ],
    )
    def test_conflicting_criteria_are_rejected(self, pairs: list[tuple[str, str]], expected: str) -> None:
        message = find_conflict(criteria(*pairs))

        assert expected in message
        assert bool(message) == bool(expected)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], "every tag"),
        ([("starts_with", "v"), ("not_pulled_for", "90")], "tag starts with “v”, and not pulled for 90 days"),
        ([("one_of", "a, b")], "tag is one of “a”, “b”"),
        ([("pushed_before", "1")], "pushed more than 1 day ago"),
        ([("all_but_newest", "1000")], "all but the newest 1,000"),
    ],
)
def test_criteria_are_described_in_words(pairs: list[tuple[str, str]], expected: str) -> None:
    assert in_words(criteria(*pairs)) == expected


class TestTagTemplates:
    @pytest.mark.parametrize(
        ("template", "tag"),
        [
            ("%n", "v1"),
            ("stable", "stable"),
            ("%n-%Y%m%d", "v1-20261122"),
            ("%Y.%m.%d_%H%M%S", "2026.11.22_120000"),
        ],
    )
    def test_tag_template_inserts_the_tag_and_the_time(self, template: str, tag: str) -> None:
        tag_templates.validate(template)

        assert tag_templates.render(template, "v1", NOW) == tag

    def test_tag_template_uses_utc(self) -> None:
        tokyo = NOW.astimezone(timezone(timedelta(hours=9)))

        assert tag_templates.render("%H", "v1", tokyo) == "12"

    @pytest.mark.parametrize(
        "template", ["", "%", "%x", "%%", "-%n", "%n:%n", "a b", "%n\n", "%\n", "é", "a" * 129]
    )
    def test_tag_template_that_never_gives_a_valid_tag_is_rejected(self, template: str) -> None:
        with pytest.raises(ValidationError):
            tag_templates.validate(template)

    @given(st.text("%nYmdHMS.-_a", max_size=8), st.from_regex(names._TAG, fullmatch=True))
    def test_valid_tag_template_gives_valid_tags(self, template: str, tag: str) -> None:
        try:
            tag_templates.validate(template)
        except ValidationError:
            return
        rendered = tag_templates.render(template, tag, NOW)
        assert names.is_tag(rendered) or len(rendered) > names.MAX_TAG_LENGTH
