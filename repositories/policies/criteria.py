"""Which tags a policy is for: those that meet all of its criteria. Nothing here reads the database."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.core.exceptions import ValidationError
from django.db import models

from repositories import names

if TYPE_CHECKING:
    from repositories.policies.models import Criterion

MAX_DAYS = 36_500
MAX_NEWEST = 100_000

_PART = re.compile(r"[A-Za-z0-9_.-]+")


class Operator(models.TextChoices):
    """What a criterion asks of a tag."""

    EQUALS = "equals", "tag equals"
    STARTS_WITH = "starts_with", "tag starts with"
    ENDS_WITH = "ends_with", "tag ends with"
    CONTAINS = "contains", "tag contains"
    ONE_OF = "one_of", "tag is one of"
    NOT_ONE_OF = "not_one_of", "tag is not one of"
    NOT_PULLED_FOR = "not_pulled_for", "not pulled for … days"
    PUSHED_BEFORE = "pushed_before", "pushed more than … days ago"
    ALL_BUT_NEWEST = "all_but_newest", "all but the newest …"


LISTS = frozenset({Operator.ONE_OF, Operator.NOT_ONE_OF})
NUMBERS = {
    Operator.NOT_PULLED_FOR: MAX_DAYS,
    Operator.PUSHED_BEFORE: MAX_DAYS,
    Operator.ALL_BUT_NEWEST: MAX_NEWEST,
}
"""The criteria with a number, for pruning alone, and the largest one. The others go by the tag's name."""


@dataclass(frozen=True)
class TagFacts:
    """What is known of a tag: when it was last pushed, and when last pulled, None for never."""

    name: str
    pushed_at: datetime
    last_pulled_at: datetime | None = None


def touched(tags: Iterable[TagFacts], criteria: Sequence[Criterion], now: datetime) -> list[TagFacts]:
    """Return the tags of one repository that meet all criteria, in their order.

    "All but the newest" counts among the tags whose names meet the criteria. A push counts as a pull,
    so that what nobody had time to pull isn't pruned.
    """
    named = [tag for tag in tags if meets_names(tag.name, criteria)]
    left = named
    for criterion in criteria:
        if criterion.operator in NUMBERS:
            old = _old(named, criterion, now)
            left = [tag for tag in left if tag in old]
    return left


def meets_names(tag: str, criteria: Iterable[Criterion]) -> bool:
    """Tell whether a tag's name meets all of those criteria that go by it."""
    return all(_meets_name(tag, criterion.operator, criterion.value) for criterion in criteria)


def _meets_name(tag: str, operator: str, value: str) -> bool:
    match operator:
        case Operator.EQUALS:
            return tag == value
        case Operator.STARTS_WITH:
            return tag.startswith(value)
        case Operator.ENDS_WITH:
            return tag.endswith(value)
        case Operator.CONTAINS:
            return value in tag
        case Operator.ONE_OF:
            return tag in tags_in(value)
        case Operator.NOT_ONE_OF:
            return tag not in tags_in(value)
        case _:
            return True


def _old(tags: list[TagFacts], criterion: Criterion, now: datetime) -> set[TagFacts]:
    """Return the tags that meet a criterion with a number."""
    number = int(criterion.value)
    if criterion.operator == Operator.ALL_BUT_NEWEST:
        return set(sorted(tags, key=lambda tag: (tag.pushed_at, tag.name), reverse=True)[number:])
    bound = now - timedelta(days=number)
    if criterion.operator == Operator.PUSHED_BEFORE:
        return {tag for tag in tags if tag.pushed_at < bound}
    return {tag for tag in tags if max(tag.pushed_at, tag.last_pulled_at or tag.pushed_at) < bound}


def tags_in(value: str) -> list[str]:
    """Return the tags of a list, which commas or spaces separate."""
    return re.findall(r"[^\s,]+", value)


def clean_value(operator: str, text: str) -> str:
    """Return the value of a criterion as it is stored. Raises ValidationError for what makes no sense."""
    if operator in NUMBERS:
        return _clean_number(text, NUMBERS[Operator(operator)])
    if operator in LISTS:
        tags = list(dict.fromkeys(tags_in(text)))
        if not tags:
            raise ValidationError("Enter at least one tag.")
        for tag in tags:
            _refuse_unless(names.is_tag(tag), tag)
        return ", ".join(tags)
    text = text.strip()
    if operator in (Operator.EQUALS, Operator.STARTS_WITH):
        _refuse_unless(names.is_tag(text), text)
    else:
        fits = len(text) <= names.MAX_TAG_LENGTH and _PART.fullmatch(text)
        _refuse_unless(bool(fits), text)
    return text


def _refuse_unless(fits: bool, text: str) -> None:
    if not fits:
        raise ValidationError(
            "No tag can be “%(text)s”, or have it there: tags hold letters, digits, _ . and -, at most 128,"
            " and begin with a letter, a digit or _.",
            params={"text": text},
        )


def _clean_number(text: str, largest: int) -> str:
    text = text.strip()
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(largest)) else 0
    if not 1 <= number <= largest:
        raise ValidationError(f"Enter a whole number from 1 to {largest:,}.")
    return str(number)


def problem(criteria: Sequence[Criterion]) -> str:
    """Say why criteria can't be combined, or nothing."""
    seen = set()
    for criterion in criteria:
        key = criterion.operator if criterion.operator in NUMBERS else str(criterion)
        if key in seen:
            return f"There is more than one criterion like this: {criterion}."
        seen.add(key)
    return "" if _can_meet(criteria) else "No tag can meet all of these criteria."


def _can_meet(criteria: Sequence[Criterion]) -> bool:
    """Tell whether some tag's name can meet all criteria that go by it."""
    values = {operator: [c.value for c in criteria if c.operator == operator] for operator in Operator}
    lists = [{value} for value in values[Operator.EQUALS]]
    lists += [set(tags_in(value)) for value in values[Operator.ONE_OF]]
    if lists:
        return any(meets_names(tag, criteria) for tag in set.intersection(*lists))
    starts = max(values[Operator.STARTS_WITH], key=len, default="")
    ends = max(values[Operator.ENDS_WITH], key=len, default="")
    return all(map(starts.startswith, values[Operator.STARTS_WITH])) and all(
        map(ends.endswith, values[Operator.ENDS_WITH])
    )
