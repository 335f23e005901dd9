"""The search language of events: `repo:acme/web tag:v1 actor:jane type:delete after:2026-11-01 -type:get`.

A search is made of terms, `name:value`, and of bare words. Terms of one name are alternatives, terms
of different names all have to hold, and a `-` before a term excludes what it says. A value with spaces
stands in quotes. Nothing here asks the database; `event_search.py` does.
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
"""Characters of a search."""
MAX_TERMS = 40


class Unreadable(ValueError):
    """A value that makes no sense; the message says why."""


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
    """What was searched for, and what could not be read of it."""

    terms: tuple[Term, ...] = ()
    after: datetime | None = None
    """Events from this moment on."""
    before: datetime | None = None
    """Events before this moment."""
    problems: tuple[str, ...] = ()
    """Why nothing is to be shown, a sentence for each term that can't be read."""

    def values(self, name: str, *, negated: bool = False) -> list[str]:
        """Return the values of all terms of a name."""
        return [term.value for term in self.terms if (term.name, term.negated) == (name, negated)]

    def __str__(self) -> str:
        """Return a search that finds the same."""
        times = (("after", self.after), ("before", self.before))
        terms = [str(term) for term in self.terms]
        return " ".join(terms + [f"{name}:{moment.isoformat()}" for name, moment in times if moment])

    def __and__(self, other: Search) -> Search:
        """Return what both search for: their terms together, in the time that both have."""
        return Search(
            terms=self.terms + other.terms,
            after=max(filter(None, (self.after, other.after)), default=None),
            before=min(filter(None, (self.before, other.before)), default=None),
            problems=self.problems + other.problems,
        )


def parse(text: str, zone: tzinfo, now: datetime | None = None) -> Search:
    """Read a search. Days and months are those of `zone`, and `7d` is so long before `now`."""
    if len(text) > MAX_LENGTH:
        return Search(problems=(f"The search is longer than {MAX_LENGTH:,} characters.",))
    search, clock = Search(), (now or timezone.now()).astimezone(zone)
    tokens = [match for match in TOKEN.finditer(text) if match.group()]
    if len(tokens) > MAX_TERMS:
        return Search(problems=(f"The search has more than {MAX_TERMS} terms.",))
    for token in tokens:
        try:
            search &= _read(token, clock)
        except Unreadable as problem:
            search = replace(search, problems=(*search.problems, str(problem)))
    return search


def quoted(value: str) -> str:
    """Return a value as it is written in a search."""
    if value and not re.search(r'[\s"\\]', value):
        return value
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'


# --- Reading ------------------------------------------------------------------------------------

TOKEN = re.compile(
    r"""(?P<negated>-?)(?:(?P<name>[A-Za-z][A-Za-z0-9-]*):)?(?:"(?P<quoted>(?:[^"\\]|\\.)*)"(?!\S)|(?P<bare>\S*))""",
    re.DOTALL,
)
ALGORITHM = re.compile(r"sha\d+")
AGO = re.compile(r"(\d{1,4})([hdwmy])")
UNITS = {"h": "hours", "d": "days", "w": "weeks", "m": "months", "y": "years"}
SYNONYMS = {"repository": "repo", "user": "actor", "sha": "digest", "address": "ip"}


def _read(token: re.Match, now: datetime) -> Search:
    """Return the search for one term."""
    name, value = (token["name"] or "").lower(), token["quoted"]
    if value is not None:
        value = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
    elif '"' in (value := token["bare"]):
        raise Unreadable(f"{token.group()}: a quotation mark is missing, or one too many.")
    name = SYNONYMS.get(name, name)
    negated = bool(token["negated"])
    if "\0" in token.group():
        raise Unreadable("A search has no NUL characters.")
    if name in TIMES:
        if negated:
            raise Unreadable(f"-{name}: a time can't be excluded.")
        return TIMES[name](value, now)
    if name in TERMS:
        if not value:
            raise Unreadable(f"{name}: what? A value follows the colon, without a space.")
        return Search((Term(name, TERMS[name](value), negated),))
    return Search((replace(_bare(token, name, value), negated=negated),))


def _bare(token: re.Match, name: str, value: str) -> Term:
    """Read what has no name that is known: an id, a digest, a label, a repository, or a user."""
    if ALGORITHM.fullmatch(name):
        return Term("digest", _digest(f"{name}:{value}"))
    if name:
        if near := difflib.get_close_matches(name, [*TERMS, *TIMES, *SYNONYMS], n=1, cutoff=0.65):
            raise Unreadable(f"'{token['name']}:' is not known; did you mean '{near[0]}:'?")
        return Term("repo", _repository(f"{name}:{value}"))
    if not value:
        raise Unreadable("A '-' or quotation marks alone say nothing.")
    try:
        return Term("id", _id(value))
    except Unreadable:
        pass
    if value.lower() in {kind.label.lower() for kind in KINDS.values()}:
        return Term("label", value)
    if "/" in value or ":" in value:
        return Term("repo", _repository(value))
    return Term("actor", value)


def _repository(value: str) -> str:
    """Read a repository, or one with a tag: `acme/web`, `acme/web:v1`, `_/alpine`."""
    value = value.removeprefix(f"{names.LIBRARY}/")
    name, colon, tag = value.partition(":")
    if not names.is_name(name) or (colon and not names.is_tag(tag)):
        raise Unreadable(f"'{value}' is not a repository, such as acme/web, or one with a tag, acme/web:v1.")
    return value


def _choice(name: str, choices: Mapping[str, str]) -> Callable[[str], str]:
    """Return what reads one of some values, whatever their case, and `_` or `-` in it."""

    def read(value: str) -> str:
        found = choices.get(value.lower().replace("-", "_"))
        if found is None:
            near = difflib.get_close_matches(value.lower(), choices, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(choices)}."
            raise Unreadable(f"{name}:{value} is not known; {hint}")
        return found

    return read


def _label(value: str) -> str:
    if not kinds_labelled(value):
        raise Unreadable(f"label:{quoted(value)}: no event has a label with these words.")
    return value


def kinds_labelled(words: str) -> list[str]:
    """Return the kinds in whose label all these words occur."""
    wanted = words.lower().split()
    return [kind.key for kind in KINDS.values() if all(word in kind.label.lower() for word in wanted)]


def _digest(value: str) -> str:
    """Read a digest, or the beginning of one; without an algorithm it is of SHA-256."""
    value = value.lower() if ":" in value else f"sha256:{value.lower()}"
    if not re.fullmatch(r"[a-z0-9+._-]+:[0-9a-f]*", value) or len(value) > names.MAX_DIGEST_LENGTH:
        raise Unreadable(f"digest:{value} is not the beginning of a digest, such as sha256:09ab.")
    return value


def _address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value.strip("[]")))
    except ValueError:
        raise Unreadable(f"ip:{value} is not an address, such as 10.0.0.7 or fd00::7.") from None


def _id(value: str) -> str:
    try:
        return str(UUID(value))
    except ValueError:
        raise Unreadable(f"id:{value} is not the id of an event.") from None


def _namespace(value: str) -> str:
    if value != names.LIBRARY and not names.is_name(value):
        raise Unreadable(f"namespace:{value} is not a namespace, such as acme, or _ for none.")
    return value


TERMS: dict[str, Callable[[str], str]] = {
    "repo": _repository,
    "namespace": _namespace,
    "tag": str,
    "digest": _digest,
    "actor": str,
    "actor-type": _choice("actor-type", {type.value: type.value for type in ActorType}),
    "type": _choice("type", {type.value.lower(): type.value for type in Type}),
    "category": _choice("category", {category.value: category.value for category in Category}),
    "kind": _choice("kind", {key: key for key in KINDS}),
    "label": _label,
    "ip": _address,
    "request": str,
    "id": _id,
}
"""The names of terms, and what reads their values. Raises Unreadable."""


# --- Times --------------------------------------------------------------------------------------


def _span(value: str, now: datetime) -> tuple[datetime, datetime]:
    """Return the beginning and the end of a year, month, day or moment, in the zone of `now`."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        if value in ("today", "yesterday"):
            start = midnight - relativedelta(days=value == "yesterday")
            return _local(start, now), _local(start + relativedelta(days=1), now)
        if ago := AGO.fullmatch(value):
            length = relativedelta(**{UNITS[ago[2]]: int(ago[1])})  # type: ignore[arg-type]
            start = _local(now.astimezone(EPOCH.tzinfo) - length, now)
            return start, start
        for pattern, format, unit in (
            (r"\d{4}", "%Y", "years"),
            (r"\d{4}-\d{2}", "%Y-%m", "months"),
            (r"\d{4}-\d{2}-\d{2}", "%Y-%m-%d", "days"),
        ):
            if re.fullmatch(pattern, value, re.ASCII):
                start = datetime.strptime(value, format)
                return _local(start, now), _local(start + relativedelta(**{unit: 1}), now)  # type: ignore[arg-type]
        moment = _local(datetime.fromisoformat(value), now)
        return moment, moment
    except (ValueError, OverflowError):
        raise Unreadable(
            f"'{value}' is not a time: a day (2026-11-22), month (2026-11), moment (2026-11-22T14:30),"
            " today, yesterday, or so long ago (24h, 7d, 3m)."
        ) from None


def _local(moment: datetime, now: datetime) -> datetime:
    """Return a moment in UTC; one that names no zone is in that of `now`. Raises ValueError before 1970."""
    if moment.tzinfo is None or moment.tzinfo is now.tzinfo:
        moment = moment.replace(tzinfo=now.tzinfo)
    moment = moment.astimezone(EPOCH.tzinfo)
    if moment < EPOCH:
        raise ValueError
    return moment


TIMES: dict[str, Callable[[str, datetime], Search]] = {
    "after": lambda value, now: Search(after=_span(value, now)[0]),
    "before": lambda value, now: Search(before=_span(value, now)[0]),
    "on": lambda value, now: Search(after=_span(value, now)[0], before=_span(value, now)[1]),
}
"""The names of terms of time: from its beginning on, before it, and within it."""
