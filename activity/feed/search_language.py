"""The search language for events: `repo:acme/web tag:v1 actor:jane type:delete after:2026-11-01 -type:get`.

A search consists of bare words and terms of the form `name:value`. Terms with the same name are combined with
OR, and terms with different names with AND. A `-` before a term negates it. A value with spaces needs quotes.
`qualifiers.py` defines the names of the terms and what they mean, and `search.py` executes a search.
"""

from __future__ import annotations

import difflib
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo

from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from activity.catalogue import KINDS
from activity.feed.conditions import is_actor_label
from activity.feed.qualifiers import QUALIFIERS
from activity.feed.search_times import InvalidTime, parse_period
from activity.feed.search_values import InvalidTerm, terms_for_word
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
    is_word: bool = field(default=False, compare=False)
    """Whether the value was entered as a word by itself, without a name."""

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
    notices: tuple[str, ...] = ()
    """What the user should know about how the search was read."""

    def values(self, name: str, *, negated: bool = False) -> list[str]:
        """Return the values of the non-negated terms with this name, or of the negated terms if `negated`."""
        return [term.value for term in self.terms if (term.name, term.negated) == (name, negated)]

    @property
    def contradictions(self) -> list[str]:
        """Why no event can match, whatever the events are."""
        found = []
        if self.after and self.before and self.after >= self.before:
            after, before = (f"{timezone.localtime(m):%Y-%m-%d %H:%M}" for m in (self.after, self.before))
            found.append(
                gettext("No time is at or after %(after)s and before %(before)s.")
                % {"after": after, "before": before}
            )
        for name in {term.name: None for term in self.terms}:
            values, excluded = self.values(name), self.values(name, negated=True)
            if values and set(values) <= set(excluded):
                terms = {"one": Term(name, values[0]), "other": Term(name, values[0], True)}
                found.append(gettext("No event matches both %(one)s and %(other)s.") % terms)
        return found

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
            notices=self.notices + other.notices,
        )


def parse(text: str, zone: tzinfo, now: datetime | None = None) -> Search:
    """Parse a search. Dates are interpreted in `zone`, and `7d` means seven days before `now`."""
    if len(text) > MAX_LENGTH:
        text = gettext("The search is longer than %(number)s characters.")
        return Search(problems=(text % {"number": intcomma(MAX_LENGTH)},))
    search, clock = Search(), (now or timezone.now()).astimezone(zone)
    tokens = [match for match in TOKEN.finditer(text) if match.group()]
    if len(tokens) > MAX_TERMS:
        text = gettext("The search has more than %(number)s terms.")
        return Search(problems=(text % {"number": MAX_TERMS},))
    words = [token["bare"] for token in tokens if _is_word(token)]
    if len(words) > 1:
        return Search(problems=(_problem_of_words(words),))
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
    if value and not re.search(r'[\s"\\]', value) and not UNCLEAR.search(value):
        return value
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'


# --- Terms --------------------------------------------------------------------------------------

TOKEN = re.compile(
    r"""(?P<negated>-?)(?:(?P<name>[A-Za-z][A-Za-z0-9_-]*):)?(?:"(?P<quoted>(?:[^"\\]|\\.)*)"(?!\S)|(?P<bare>\S*))""",
    re.DOTALL,
)
UNCLEAR = re.compile(r"[,;|()*?“”„«»]|^['‘’‚!–—−]")
"""Characters with a meaning in other search languages, and characters that editors put for ASCII ones."""
OTHER_COLON = re.compile(r"(?P<name>[\w-]+)[=：﹕](?P<value>.+)")
"""A term with another character in place of the colon."""
OPERATORS = {"or", "and", "not", "&", "&&", "||"}
ALGORITHM = re.compile(r"sha\d+")
HEXADECIMAL = re.compile(r"(?=.*\d)[0-9a-f]{4,}|[0-9a-f]{7,}", re.IGNORECASE | re.ASCII)
"""Words that look like the beginning of a digest. `ada` and `dada` don't."""
QUALIFIERS_BY_NAME_OR_ALIAS = {
    name: qualifier for qualifier in QUALIFIERS.values() for name in (qualifier.name, *qualifier.aliases)
}
TERMS_FOR_FOREIGN_NAMES = {
    "action": _("kind:, type: or category:"),
    "operation": _("type: or category:"),
    "created": _("after:, before: or on:"),
    "op-time": _("after:, before: or on:"),
    "date": _("after:, before: or on:"),
    "since": "after:",
    "until": "before:",
    "from": _("after: or actor:"),
    "to": "before:",
    "resource": _("repo: or tag:"),
    "resource-type": _("kind: or category:"),
    "event": "kind:",
    "country": "ip:",
    "team": "label:",
    "status": "type:",
    "result": "type:",
    "source": "via:",
    "name": _("repo:, tag: or actor:"),
    "image": "repo:",
    "is": _("type: or category:"),
}
"""What to use in place of the qualifiers of GitHub's and Harbor's audit logs, and of other guesses."""


def _parse_term(token: re.Match, now: datetime) -> Search:
    """Parse one term. Raises InvalidTerm."""
    if not is_storable(token.group()):
        raise InvalidTerm(gettext("A search can't contain NUL characters."))
    name, negated = (token["name"] or "").lower().replace("_", "-"), bool(token["negated"])
    if (value := token["quoted"]) is None:
        value = _check_unquoted(token)
    else:
        value = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
    if name not in QUALIFIERS_BY_NAME_OR_ALIAS:
        return Search((_parse_unnamed(token, name, value, negated, now),))
    qualifier = QUALIFIERS_BY_NAME_OR_ALIAS[name]
    if not value:
        text = gettext("%(name)s: needs a value right after the colon, without a space.")
        raise InvalidTerm(text % {"name": name})
    if not qualifier.time_range:
        return Search((read_term(qualifier.name, value, negated),))
    if negated:
        raise InvalidTerm(gettext("-%(name)s: times can't be negated.") % {"name": name})
    try:
        period = parse_period(value, now)
    except InvalidTime as problem:
        raise InvalidTerm(f"{name}:{problem}") from None
    if name == "on" and period.is_point:
        text = gettext(
            "on:%(value)s is not a day, a month or a year. Write after:%(value)s for everything from then on."
        )
        raise InvalidTerm(text % {"value": value})
    after, before = qualifier.time_range(period.start, period.end)
    return Search(after=after, before=before, notices=(period.notice,) if period.notice else ())


def _check_unquoted(token: re.Match) -> str:
    """Return the value of a token without quotation marks. Raises InvalidTerm if they are needed."""
    value: str = token["bare"]
    if '"' in value:
        raise InvalidTerm(gettext("%(term)s: unbalanced quotation marks.") % {"term": token.group()})
    if unclear := UNCLEAR.search(value):
        name = f"{token['name']}:" if token["name"] else ""
        parts = [part for part in re.split(r"[,;|]+", value) if part]
        sentences = [gettext("%(term)s: “%(character)s” has no meaning here.")]
        if len(parts) > 1:
            sentences.append(gettext("To search for several values, write %(terms)s."))
        sentences.append(gettext("If it is part of a name, write %(quoted)s, with straight quotation marks."))
        words = {
            "term": token.group(),
            "character": unclear.group(),
            "terms": " ".join(part if _is_term(part) else name + part for part in parts),
            "quoted": f'{name}"{value}"',
        }
        raise InvalidTerm(" ".join(sentences) % words)
    return value


def _is_term(text: str) -> bool:
    name, colon, _value = text.partition(":")
    return bool(colon) and name.lower() in QUALIFIERS_BY_NAME_OR_ALIAS


def _parse_unnamed(token: re.Match, name: str, value: str, negated: bool, now: datetime) -> Term:
    """Parse a term without a known name: an id, digest, label, repository or actor. Raises InvalidTerm."""
    if ALGORITHM.fullmatch(name):
        return read_term("digest", f"{name}:{value}", negated)
    if name:
        _check_name(token, name)
        return read_term("repo", f"{name}:{value}", negated)
    if not value:
        raise InvalidTerm(gettext("%(term)s: a value is missing.") % {"term": token.group()})
    with suppress(InvalidTerm):
        return read_term("id", value, negated)
    if token["quoted"] is not None and value.lower() in {
        kind.english_label.lower() for kind in KINDS.values()
    }:
        return read_term("label", value, negated)
    if "/" in value or ":" in value:
        return read_term("repo", value, negated)
    if token["quoted"] is None:
        _check_word(value, now)
    return replace(read_term("actor", value, negated), is_word=True)


def _check_name(token: re.Match, name: str) -> None:
    """Raise InvalidTerm if a name before a colon looks like that of a term, rather than of a repository."""
    if instead := TERMS_FOR_FOREIGN_NAMES.get(name):
        text = gettext("'%(name)s:' is not a search term. Use %(terms)s.")
        raise InvalidTerm(text % {"name": token["name"], "terms": instead})
    if near := difflib.get_close_matches(name, QUALIFIERS_BY_NAME_OR_ALIAS, n=1, cutoff=0.65):
        text = gettext("'%(name)s:' is not a search term. Did you mean '%(near)s:'?")
        raise InvalidTerm(text % {"name": token["name"], "near": near[0]})


# --- Words ----------------------------------------------------------------------------------------


def _is_word(token: re.Match) -> bool:
    """Return whether a token is a word by itself, which can only be the name of an actor."""
    value = token["bare"]
    if token["name"] or token["negated"] or not value or "/" in value or ":" in value:
        return False
    with suppress(InvalidTerm):
        return not read_term("id", value)
    return True


def _problem_of_words(words: list[str]) -> str:
    """Return why several words don't make a search."""
    phrase = " ".join(words)
    if any(word.lower() in OPERATORS for word in words):
        return _problem_of_operator(next(word for word in words if word.lower() in OPERATORS))
    if terms := terms_for_word(phrase):
        text = gettext("“%(words)s” is ambiguous. Write %(terms)s.")
        return text % {"words": phrase, "terms": gettext(" or ").join(terms)}
    names = " ".join(f"actor:{quoted(word)}" for word in words)
    text = gettext(
        "“%(words)s” is ambiguous. For any of these actors, write %(terms)s. For one actor, put"
        ' the name in quotation marks: "%(words)s".'
    )
    return text % {"words": phrase, "terms": names}


def _problem_of_operator(word: str) -> str:
    text = gettext(
        "%(word)s has no meaning in a search. Terms with the same name are alternatives, such as type:delete"
        " type:fail, terms with different names must all match, and - before a term excludes events."
    )
    return text % {"word": word}


def _check_word(word: str, now: datetime) -> None:
    """Raise InvalidTerm if a word by itself is probably not the name of an actor."""
    if word.lower() in OPERATORS:
        raise InvalidTerm(_problem_of_operator(word))
    if is_actor_label(word):
        return
    terms = terms_for_word(word)
    if (other := OTHER_COLON.fullmatch(word)) and other["name"].lower() in QUALIFIERS_BY_NAME_OR_ALIAS:
        terms.append(f"{other['name']}:{other['value']}")
    if HEXADECIMAL.fullmatch(word):
        terms.append(f"digest:{word}")
    with suppress(InvalidTerm):
        QUALIFIERS["ip"].read(word)
        terms.append(f"ip:{word}")
    with suppress(InvalidTime):
        terms.append(f"{'after' if parse_period(word, now).is_point else 'on'}:{word}")
    if terms:
        text = gettext("“%(words)s” is ambiguous. Write %(terms)s.")
        raise InvalidTerm(text % {"words": word, "terms": gettext(" or ").join([*terms, f"actor:{word}"])})
