"""Select the tags that meet a policy's criteria, and validate criteria. Makes no database queries."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.contrib.humanize.templatetags.humanize import intcomma
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.functional import Promise
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from repositories import names

if TYPE_CHECKING:
    from repositories.policies.models import Criterion

MAX_DAYS = 36_500
MAX_NEWEST = 100_000

_TAG_PART = re.compile(r"[A-Za-z0-9_.-]+")


class Operator(models.TextChoices):
    """The operators that a criterion can apply to a tag."""

    EQUALS = "equals", _("tag equals")
    STARTS_WITH = "starts_with", _("tag starts with")
    ENDS_WITH = "ends_with", _("tag ends with")
    CONTAINS = "contains", _("tag contains")
    ONE_OF = "one_of", _("tag is one of")
    NOT_ONE_OF = "not_one_of", _("tag is not one of")
    NOT_PULLED_FOR = "not_pulled_for", _("not pulled for … days")
    PUSHED_BEFORE = "pushed_before", _("pushed more than … days ago")
    ALL_BUT_NEWEST = "all_but_newest", _("all but the newest …")


LIST_OPERATORS = frozenset({Operator.ONE_OF, Operator.NOT_ONE_OF})
NUMERIC_LIMITS = {
    Operator.NOT_PULLED_FOR: MAX_DAYS,
    Operator.PUSHED_BEFORE: MAX_DAYS,
    Operator.ALL_BUT_NEWEST: MAX_NEWEST,
}
"""Operators that take a number, each with the largest number allowed. Only pruning policies can use them."""


NAME_CONDITIONS: dict[str, Callable[[str, str], bool]] = {
    Operator.EQUALS: str.__eq__,
    Operator.STARTS_WITH: str.startswith,
    Operator.ENDS_WITH: str.endswith,
    Operator.CONTAINS: str.__contains__,
    Operator.ONE_OF: lambda tag, value: tag in split_tags(value),
    Operator.NOT_ONE_OF: lambda tag, value: tag not in split_tags(value),
}
"""Operators that check the name of a tag, each with a function of the tag and the criterion's value."""


@dataclass(frozen=True)
class TagActivity:
    """A tag, and when it was last pushed and last used."""

    name: str
    pushed_at: datetime
    last_used_at: datetime | None = None
    """When the tag was last pulled, or requested by a client that had it already. None if it never was."""
    digest: str = ""

    @property
    def image(self) -> str:
        """The digest stem of the image that the tag is attached to, or an empty string."""
        return names.image_of_tag(self.name) if names.is_attachment(self.name, self.digest) else ""

    @property
    def attachment_kind(self) -> str | Promise:
        return names.attachment_kind(self.name)


def matching_tags(
    tags: Iterable[TagActivity],
    criteria: Sequence[Criterion],
    now: datetime,
    rule: Callable[[Iterable[bool]], bool] = all,
) -> list[TagActivity]:
    """Return the tags that meet all criteria, in the given order. All tags must be from the same repository.

    "All but the newest" counts only tags that meet all criteria for names. A push counts as a pull, so that
    tags aren't pruned before anybody has had time to pull them.

    Criteria don't apply to attachments, such as signatures. By default, an attachment matches if all tags
    that point to its image match, so that it is pruned with its image. With the rule `any`, one such tag is
    enough. If no tag points to its image, the attachment doesn't match.
    """
    tags = list(tags)
    matches = set(_matching_images([tag for tag in tags if not tag.image], criteria, now))
    tags_by_stem: dict[str, list[TagActivity]] = {}
    for tag in tags:
        tags_by_stem.setdefault(names.digest_stem(tag.digest), []).append(tag)
    waiting = {tag for tag in tags if tag.image and tag.image in tags_by_stem}
    # An attachment can itself have attachments, such as the signature of an SBOM.
    while found := {tag for tag in waiting if rule(other in matches for other in tags_by_stem[tag.image])}:
        matches |= found
        waiting -= found
    return [tag for tag in tags if tag in matches]


def _matching_images(
    tags: list[TagActivity], criteria: Sequence[Criterion], now: datetime
) -> list[TagActivity]:
    """Return the tags that meet all criteria, without regard to attachments."""
    name_matches = [tag for tag in tags if meets_name_criteria(tag.name, criteria)]
    matches = name_matches
    for criterion in criteria:
        if criterion.operator in NUMERIC_LIMITS:
            selected = _select_by_number(name_matches, criterion, now)
            matches = [tag for tag in matches if tag in selected]
    return matches


def meets_name_criteria(tag: str, criteria: Iterable[Criterion]) -> bool:
    """Return whether a tag's name meets all criteria that check the name. Other criteria are ignored."""
    return all(
        NAME_CONDITIONS[criterion.operator](tag, criterion.value)
        for criterion in criteria
        if criterion.operator in NAME_CONDITIONS
    )


def _select_by_number(tags: list[TagActivity], criterion: Criterion, now: datetime) -> set[TagActivity]:
    """Return the tags that meet a criterion whose operator is in NUMERIC_LIMITS."""
    number = int(criterion.value)
    if criterion.operator == Operator.ALL_BUT_NEWEST:
        return set(sorted(tags, key=lambda tag: (tag.pushed_at, tag.name), reverse=True)[number:])
    cutoff = now - timedelta(days=number)
    if criterion.operator == Operator.PUSHED_BEFORE:
        return {tag for tag in tags if tag.pushed_at < cutoff}
    return {tag for tag in tags if max(tag.pushed_at, tag.last_used_at or tag.pushed_at) < cutoff}


def split_tags(value: str) -> list[str]:
    """Split a list of tags at commas and whitespace."""
    return re.findall(r"[^\s,]+", value)


def in_words(operator: str, value: str) -> str:
    """Return a criterion as text, e.g. `tag starts with “v”` or `not pulled for 90 days`."""
    if operator not in NUMERIC_LIMITS:
        condition = dict(Operator.choices).get(operator, operator)
        tags = ", ".join(f"“{tag}”" for tag in split_tags(value))
        return gettext("%(condition)s %(tags)s") % {"condition": condition, "tags": tags}
    number = int(value)
    if operator == Operator.NOT_PULLED_FOR:
        text = ngettext("not pulled for %(number)s day", "not pulled for %(number)s days", number)
    elif operator == Operator.PUSHED_BEFORE:
        text = ngettext("pushed more than %(number)s day ago", "pushed more than %(number)s days ago", number)
    else:
        text = gettext("all but the newest %(number)s")
    return text % {"number": intcomma(number)}


def clean_value(operator: str, text: str) -> str:
    """Return the value of a criterion in its stored form. Raises ValidationError if the value is invalid."""
    if operator in NUMERIC_LIMITS:
        return _clean_number(text, NUMERIC_LIMITS[Operator(operator)])
    tags = list(dict.fromkeys(split_tags(text))) if operator in LIST_OPERATORS else [text.strip()]
    if not tags:
        raise ValidationError(gettext("Enter at least one tag."))
    is_valid = _is_tag_part if operator in (Operator.ENDS_WITH, Operator.CONTAINS) else names.is_tag
    for tag in tags:
        if not is_valid(tag):
            raise ValidationError(
                gettext(
                    "No tag can match “%(text)s”. A tag consists of at most 128 letters, digits, underscores,"
                    " periods and hyphens, and starts with a letter, a digit or an underscore."
                ),
                params={"text": tag},
            )
    return ", ".join(tags)


def _is_tag_part(text: str) -> bool:
    return len(text) <= names.MAX_TAG_LENGTH and _TAG_PART.fullmatch(text) is not None


def _clean_number(text: str, maximum: int) -> str:
    text = text.strip()
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(maximum)) else 0
    if not 1 <= number <= maximum:
        message = gettext("Enter a whole number from 1 to %(maximum)s.")
        raise ValidationError(message, params={"maximum": intcomma(maximum)})
    return str(number)


def find_conflict(criteria: Sequence[Criterion]) -> str:
    """Return an error message if the criteria can't be combined, or an empty string if they can."""
    seen = set()
    for criterion in criteria:
        key = criterion.operator if criterion.operator in NUMERIC_LIMITS else str(criterion)
        if key in seen:
            return gettext("There is more than one criterion of this kind: %(criterion)s.") % {
                "criterion": criterion
            }
        seen.add(key)
    return "" if _can_all_be_met(criteria) else gettext("No tag can meet all of these criteria.")


def _can_all_be_met(criteria: Sequence[Criterion]) -> bool:
    """Return whether any tag name could meet all criteria that check the name."""
    lists = [set(split_tags(c.value)) for c in criteria if c.operator in (Operator.EQUALS, Operator.ONE_OF)]
    if lists:
        return any(meets_name_criteria(tag, criteria) for tag in set.intersection(*lists))
    prefixes = [c.value for c in criteria if c.operator == Operator.STARTS_WITH]
    suffixes = [c.value for c in criteria if c.operator == Operator.ENDS_WITH]
    return all(map(max(prefixes, key=len, default="").startswith, prefixes)) and all(
        map(max(suffixes, key=len, default="").endswith, suffixes)
    )
