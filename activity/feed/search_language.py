"""The search language of events: `repo:acme/web tag:v1 actor:jane type:delete after:2026-11-01 -type:get`.

A search consists of terms, `name:value`, and bare words. Terms with the same name are combined with OR, and
terms with different names with AND. A `-` before a term negates it. A value with spaces needs quotes. This
module doesn't query the database; `search.py` does.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from uuid import UUID

from dateutil.relativedelta import relativedelta
from django.utils import timezone

from activity.catalogue import KINDS, Type
from activity.identity import EPOCH
from activity.models import ActorType
from repositories import names
from repositories.access.levels import Category

MAX_LENGTH = 2_000
"""The maximum length of a search, in characters."""
MAX_TERMS = 40


class InvalidTerm(ValueError):
    """A term that can't be parsed. The message says why and is shown to the user."""


@dataclass(frozen=True)
class Term:
    """One condition, such as `type:delete`, or `-type:get`."""

    name: str
    value: str
    negated: bool = False

    def __str__(self) -> str:
        return f"{'-' if self.negated else ''}{self.name}:{quoted(self.value)}"


@dataclass(frozen=True)
class Search:
    """A parsed search, with the errors of terms that could not be parsed."""

    terms: tuple[Term, ...] = ()
    after: datetime | None = None
    """Only events at this time or later."""
    before: datetime | None = None
    """Only events before this time."""
    problems: tuple[str, ...] = ()
    """An error message for each term that could not be parsed. With any of these, nothing is shown."""

    def values(self, name: str, *, negated: bool = False) -> list[str]:
        """Return the values of all terms with a name."""
        return [term.value for term in self.terms if (term.name, term.negated) == (name, negated)]

    def __str__(self) -> str:
        """Return the text of an equivalent search."""
        times = (("after", self.after), ("before", self.before))
        terms = [str(term) for term in self.terms]
        return " ".join(terms + [f"{name}:{moment.isoformat()}" for name, moment in times if moment])

    def __and__(self, other: Search) -> Search:
        """Return a search with the terms of both, limited to the time range that they share."""
        return Search(
            terms=self.terms + other.terms,
            after=max(filter(None, (self.after, other.after)), default=None),
            before=min(filter(None, (self.before, other.before)), default=None),
            problems=self.problems + other.problems,
        )


def parse(text: str, zone: tzinfo, now: datetime | None = None) -> Search:
    """Parse a search. Days and months are in `zone`; `7d` means seven days before `now`."""
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


def quoted(value: str) -> str:
    """Return a value quoted for a search if necessary."""
    if value and not re.search(r'[\s"\\]', value):
        return value
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'


# --- Terms --------------------------------------------------------------------------------------

TOKEN = re.compile(
    r"""(?P<negated>-?)(?:(?P<name>[A-Za-z][A-Za-z0-9-]*):)?(?:"(?P<quoted>(?:[^"\\]|\\.)*)"(?!\S)|(?P<bare>\S*))""",
    re.DOTALL,
)
ALGORITHM = re.compile(r"sha\d+")
AGO = re.compile(r"(\d{1,4})([hdwmy])")
UNITS = {"h": "hours", "d": "days", "w": "weeks", "m": "months", "y": "years"}
ALIASES = {"repository": "repo", "user": "actor", "sha": "digest", "address": "ip"}


def _parse_term(token: re.Match, now: datetime) -> Search:
    """Parse one term. Raises InvalidTerm."""
    name, value = (token["name"] or "").lower(), token["quoted"]
    if value is not None:
        value = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
    elif '"' in (value := token["bare"]):
        raise InvalidTerm(f"{token.group()}: unbalanced quotation marks.")
    name = ALIASES.get(name, name)
    negated = bool(token["negated"])
    if "\0" in token.group():
        raise InvalidTerm("A search can't contain NUL characters.")
    if name in TIMES:
        if negated:
            raise InvalidTerm(f"-{name}: times can't be negated.")
        return TIMES[name](value, now)
    if name in TERMS:
        if not value:
            raise InvalidTerm(f"{name}: needs a value right after the colon, without a space.")
        return Search((Term(name, TERMS[name](value), negated),))
    return Search((replace(_parse_unnamed(token, name, value), negated=negated),))


def _parse_unnamed(token: re.Match, name: str, value: str) -> Term:
    """Parse a term without a known name: an id, digest, label, repository or user. Raises InvalidTerm."""
    if ALGORITHM.fullmatch(name):
        return Term("digest", _parse_digest(f"{name}:{value}"))
    if name:
        if near := difflib.get_close_matches(name, [*TERMS, *TIMES, *ALIASES], n=1, cutoff=0.65):
            raise InvalidTerm(f"'{token['name']}:' is not a search term. Did you mean '{near[0]}:'?")
        return Term("repo", _parse_repository(f"{name}:{value}"))
    if not value:
        raise InvalidTerm(f"{token.group()}: a value is missing.")
    try:
        return Term("id", _parse_id(value))
    except InvalidTerm:
        pass
    if value.lower() in {kind.label.lower() for kind in KINDS.values()}:
        return Term("label", value)
    if "/" in value or ":" in value:
        return Term("repo", _parse_repository(value))
    return Term("actor", value)


def _parse_repository(value: str) -> str:
    """Parse a repository, with or without a tag: `acme/web`, `acme/web:v1`, `_/alpine`."""
    value = value.removeprefix(f"{names.LIBRARY}/")
    name, colon, tag = value.partition(":")
    if not names.is_name(name) or (colon and not names.is_tag(tag)):
        raise InvalidTerm(
            f"'{value}' is not a repository like acme/web, or a repository with a tag like acme/web:v1."
        )
    return value


def _choice_parser(name: str, choices: Mapping[str, str]) -> Callable[[str], str]:
    """Return a parser for a fixed set of values. It ignores case, and accepts `-` instead of `_`."""

    def parse_choice(value: str) -> str:
        found = choices.get(value.lower().replace("-", "_"))
        if found is None:
            near = difflib.get_close_matches(value.lower(), choices, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Valid values: {', '.join(choices)}."
            raise InvalidTerm(f"{name}:{value} is not valid. {hint}")
        return found

    return parse_choice


def _parse_label(value: str) -> str:
    if not kinds_with_label(value):
        raise InvalidTerm(f"label:{quoted(value)}: no label contains all of these words.")
    return value


def kinds_with_label(words: str) -> list[str]:
    """Return the kinds whose labels contain all of these words."""
    wanted = words.lower().split()
    return [kind.key for kind in KINDS.values() if all(word in kind.label.lower() for word in wanted)]


def _parse_digest(value: str) -> str:
    """Parse a digest or the beginning of one. The default algorithm is SHA-256."""
    value = value.lower() if ":" in value else f"sha256:{value.lower()}"
    if not re.fullmatch(r"[a-z0-9+._-]+:[0-9a-f]*", value) or len(value) > names.MAX_DIGEST_LENGTH:
        raise InvalidTerm(f"digest:{value} is not a digest or the beginning of one, like sha256:09ab.")
    return value


def _parse_address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value.strip("[]")))
    except ValueError:
        raise InvalidTerm(f"ip:{value} is not an IP address like 10.0.0.7 or fd00::7.") from None


def _parse_id(value: str) -> str:
    try:
        return str(UUID(value))
    except ValueError:
        raise InvalidTerm(f"id:{value} is not an event ID.") from None


def _parse_namespace(value: str) -> str:
    if value != names.LIBRARY and not names.is_name(value):
        raise InvalidTerm(f"namespace:{value} is not a namespace like acme, or _ for none.")
    return value


TERMS: dict[str, Callable[[str], str]] = {
    "repo": _parse_repository,
    "namespace": _parse_namespace,
    "tag": str,
    "digest": _parse_digest,
    "actor": str,
    "actor-type": _choice_parser("actor-type", {type.value: type.value for type in ActorType}),
    "type": _choice_parser("type", {type.value.lower(): type.value for type in Type}),
    "category": _choice_parser("category", {category.value: category.value for category in Category}),
    "kind": _choice_parser("kind", {key: key for key in KINDS}),
    "label": _parse_label,
    "ip": _parse_address,
    "request": str,
    "id": _parse_id,
}
"""The parsers of the values of terms, by name. They raise InvalidTerm."""


# --- Times --------------------------------------------------------------------------------------


def _parse_period(value: str, now: datetime) -> tuple[datetime, datetime]:
    """Return the start and end of a year, month, day or point in time, in the time zone of `now`."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        if value in ("today", "yesterday"):
            start = midnight - relativedelta(days=value == "yesterday")
            return _to_utc(start, now), _to_utc(start + relativedelta(days=1), now)
        if ago := AGO.fullmatch(value):
            length = relativedelta(**{UNITS[ago[2]]: int(ago[1])})  # type: ignore[arg-type]
            start = _to_utc(now.astimezone(EPOCH.tzinfo) - length, now)
            return start, start
        for pattern, format, unit in (
            (r"\d{4}", "%Y", "years"),
            (r"\d{4}-\d{2}", "%Y-%m", "months"),
            (r"\d{4}-\d{2}-\d{2}", "%Y-%m-%d", "days"),
        ):
            if re.fullmatch(pattern, value, re.ASCII):
                start = datetime.strptime(value, format)
                return _to_utc(start, now), _to_utc(start + relativedelta(**{unit: 1}), now)  # type: ignore[arg-type]
        moment = _to_utc(datetime.fromisoformat(value), now)
        return moment, moment
    except (ValueError, OverflowError):
        raise InvalidTerm(
            f"'{value}' is not a time. Use a day (2026-11-22), a month (2026-11), a date and time"
            " (2026-11-22T14:30), today, yesterday, or a relative time (24h, 7d, 3m)."
        ) from None


def _to_utc(moment: datetime, now: datetime) -> datetime:
    """Convert a time to UTC. The default time zone is that of `now`. Raises ValueError before 1970."""
    if moment.tzinfo is None or moment.tzinfo is now.tzinfo:
        moment = moment.replace(tzinfo=now.tzinfo)
    moment = moment.astimezone(EPOCH.tzinfo)
    if moment < EPOCH:
        raise ValueError
    return moment


TIMES: dict[str, Callable[[str, datetime], Search]] = {
    "after": lambda value, now: Search(after=_parse_period(value, now)[0]),
    "before": lambda value, now: Search(before=_parse_period(value, now)[0]),
    "on": lambda value, now: Search(after=_parse_period(value, now)[0], before=_parse_period(value, now)[1]),
}
"""The parsers of time terms, by name.

`after` includes events from the start of a period on, `before` those before it, and `on` those within it.
"""
