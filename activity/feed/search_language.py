"""The search language for events: `repo:acme/web tag:v1 actor:jane type:delete after:2026-11-01 -type:get`.

A search consists of bare words and terms of the form `name:value`. Terms with the same name are combined with
OR, and terms with different names with AND. A `-` before a term negates it. A value with spaces needs quotes.
`qualifiers.py` defines the names of the terms and what they mean, and `search.py` executes a search.
"""

from __future__ import annotations

import difflib
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo

from dateutil.relativedelta import relativedelta
from django.utils import timezone

from activity.catalogue import KINDS
from activity.feed.qualifiers import QUALIFIERS, InvalidTerm
from activity.identity import EPOCH
from repositories.utils.text import is_storable

MAX_LENGTH = 2_000
"""The maximum length of a search, in characters."""
MAX_TERMS = 40


@dataclass(frozen=True)
class Term:
    """One condition, such as `type:delete` or `-type:get`."""

    name: str
    value: str
    negated: bool = False

    def __str__(self) -> str:
        return f"{'-' if self.negated else ''}{self.name}:{quoted(self.value)}"


@dataclass(frozen=True)
class Search:
    """A parsed search, with an error for each term that could not be parsed."""

    terms: tuple[Term, ...] = ()
    after: datetime | None = None
    """The search finds only events at this time or later."""
    before: datetime | None = None
    """The search finds only events before this time."""
    problems: tuple[str, ...] = ()
    """An error message for each term that could not be parsed. A search with errors finds no events."""

    def values(self, name: str, *, negated: bool = False) -> list[str]:
        """Return the values of the non-negated terms with this name, or of the negated terms if `negated`."""
        return [term.value for term in self.terms if (term.name, term.negated) == (name, negated)]

    def __str__(self) -> str:
        """Return the text of an equivalent search."""
        times = (("after", self.after), ("before", self.before))
        terms = [str(term) for term in self.terms]
        return " ".join(terms + [f"{name}:{moment.isoformat()}" for name, moment in times if moment])

    def __and__(self, other: Search) -> Search:
        """Return a search with the terms of both searches, limited to the time range that they share."""
        return Search(
            terms=self.terms + other.terms,
            after=max(filter(None, (self.after, other.after)), default=None),
            before=min(filter(None, (self.before, other.before)), default=None),
            problems=self.problems + other.problems,
        )


def parse(text: str, zone: tzinfo, now: datetime | None = None) -> Search:
    """Parse a search. Dates are interpreted in `zone`, and `7d` means seven days before `now`."""
    if len(text) > MAX_LENGTH:
        return Search(problems=(f"The search is longer than {MAX_LENGTH:,} characters.",))
    search, clock = Search(), (now or timezone.now()).astimezone(zone)
    tokens = [match for match in TOKEN.finditer(text) if match.group()]
    if len(tokens) > MAX_TERMS:
        return Search(problems=(f"The search has more than {MAX_TERMS} terms.",))
    for token in tokens:
        try:
            search &= _parse_term(token, clock)
        except InvalidTerm as problem:
            search = replace(search, problems=(*search.problems, str(problem)))
    return search


def read_term(name: str, value: str, negated: bool = False) -> Term:
    """Parse the value that a user entered, and return it as a term. Raises InvalidTerm."""
    return Term(name, QUALIFIERS[name].read(value), negated)


def quoted(value: str) -> str:
    """Return a value as it must be written in a search, in quotes if necessary."""
    if value and not re.search(r'[\s"\\]', value):
        return value
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'


# --- Terms --------------------------------------------------------------------------------------

TOKEN = re.compile(
    r"""(?P<negated>-?)(?:(?P<name>[A-Za-z][A-Za-z0-9-]*):)?(?:"(?P<quoted>(?:[^"\\]|\\.)*)"(?!\S)|(?P<bare>\S*))""",
    re.DOTALL,
)
ALGORITHM = re.compile(r"sha\d+")
DATE = re.compile(r"\d{4}(-\d{2}){0,2}", re.ASCII)
"""A year, a month or a day."""
AGO = re.compile(r"(\d{1,4})([hdwmy])")
UNITS = {"h": "hours", "d": "days", "w": "weeks", "m": "months", "y": "years"}
QUALIFIERS_BY_NAME_OR_ALIAS = {
    name: qualifier for qualifier in QUALIFIERS.values() for name in (qualifier.name, *qualifier.aliases)
}


def _parse_term(token: re.Match, now: datetime) -> Search:
    """Parse one term. Raises InvalidTerm."""
    name, value = (token["name"] or "").lower(), token["quoted"]
    if value is not None:
        value = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
    elif '"' in (value := token["bare"]):
        raise InvalidTerm(f"{token.group()}: unbalanced quotation marks.")
    negated = bool(token["negated"])
    if not is_storable(token.group()):
        raise InvalidTerm("A search can't contain NUL characters.")
    if name not in QUALIFIERS_BY_NAME_OR_ALIAS:
        return Search((_parse_unnamed(token, name, value, negated),))
    qualifier = QUALIFIERS_BY_NAME_OR_ALIAS[name]
    if qualifier.time_range:
        if negated:
            raise InvalidTerm(f"-{name}: times can't be negated.")
        after, before = qualifier.time_range(*_parse_period(value, now))
        return Search(after=after, before=before)
    if not value:
        raise InvalidTerm(f"{name}: needs a value right after the colon, without a space.")
    return Search((read_term(qualifier.name, value, negated),))


def _parse_unnamed(token: re.Match, name: str, value: str, negated: bool) -> Term:
    """Parse a term without a known name: an id, digest, label, repository or actor. Raises InvalidTerm."""
    if ALGORITHM.fullmatch(name):
        return read_term("digest", f"{name}:{value}", negated)
    if name:
        if near := difflib.get_close_matches(name, QUALIFIERS_BY_NAME_OR_ALIAS, n=1, cutoff=0.65):
            raise InvalidTerm(f"'{token['name']}:' is not a search term. Did you mean '{near[0]}:'?")
        return read_term("repo", f"{name}:{value}", negated)
    if not value:
        raise InvalidTerm(f"{token.group()}: a value is missing.")
    with suppress(InvalidTerm):
        return read_term("id", value, negated)
    if value.lower() in {kind.label.lower() for kind in KINDS.values()}:
        return read_term("label", value, negated)
    return read_term("repo" if "/" in value or ":" in value else "actor", value, negated)


# --- Times --------------------------------------------------------------------------------------


def _parse_period(value: str, now: datetime) -> tuple[datetime, datetime]:
    """Parse a year, a month, a day or a point in time, and return its start and end in UTC.

    The start and end of a point in time are equal. A value without a time zone is in the time zone of `now`.
    Raises InvalidTerm if the value can't be parsed.
    """
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        if value in ("today", "yesterday"):
            start = midnight - relativedelta(days=value == "yesterday")
            return _to_utc(start, now), _to_utc(start + relativedelta(days=1), now)
        if ago := AGO.fullmatch(value):
            length = relativedelta(**{UNITS[ago[2]]: int(ago[1])})  # type: ignore[arg-type]
            start = _to_utc(now.astimezone(EPOCH.tzinfo) - length, now)
            return start, start
        if DATE.fullmatch(value):
            hyphens = value.count("-")
            start = datetime.fromisoformat(value + "-01" * (2 - hyphens))
            length = relativedelta(**{("years", "months", "days")[hyphens]: 1})  # type: ignore[arg-type]
            return _to_utc(start, now), _to_utc(start + length, now)
        moment = _to_utc(datetime.fromisoformat(value), now)
        return moment, moment
    except (ValueError, OverflowError):
        raise InvalidTerm(
            f"'{value}' is not a time. Use a day (2026-11-22), a month (2026-11), a date and time"
            " (2026-11-22T14:30), today, yesterday, or a relative time (24h, 7d, 3m)."
        ) from None


def _to_utc(moment: datetime, now: datetime) -> datetime:
    """Convert a time to UTC. A time without a time zone is in the time zone of `now`.

    Raises ValueError for times before 1970, because event ids can't represent them.
    """
    if moment.tzinfo is None or moment.tzinfo is now.tzinfo:
        moment = moment.replace(tzinfo=now.tzinfo)
    moment = moment.astimezone(EPOCH.tzinfo)
    if moment < EPOCH:
        raise ValueError
    return moment
