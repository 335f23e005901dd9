"""Turns a search into a plan of what to list."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext

from activity.catalogue import kinds_of
from activity.feed import known_names
from activity.feed.conditions import MAX_EXPLAINED, Condition
from activity.feed.plans import PULLS, Plan
from activity.feed.qualifiers import QUALIFIERS, Qualifier
from activity.feed.search_language import Search, Term
from repositories.access.levels import Category
from repositories.access.resolving import Access
from repositories.utils.moments import format_time


def plan(listed: Plan, search: Search) -> Plan:
    """Return the plan for a search among the events of a list.

    A term matches only what the viewer may see of an event; see `Qualifier.only`.

    Runs queries to look up the repositories and namespaces named in the search.
    """
    access = listed.access
    found = _restrict_kinds(listed.between(search.after, search.before), search)
    conditions: list[Condition] = []
    problems, notices = [*search.problems, *search.contradictions], [*search.notices]
    if found.kinds is not None and not found.kinds:
        problems.append(gettext("No kind of event matches all of these terms."))
    for name, qualifier in QUALIFIERS.items():
        values, excluded = search.values(name), search.values(name, negated=True)
        if qualifier.limit and (values or excluded) and not access.sees_everything:
            text = gettext("For you, %(name)s: finds %(limit)s.")
            notices.append(text % {"name": name, "limit": qualifier.limit})
        if qualifier.condition is None:
            continue
        if values:
            conditions.append(condition := _condition(qualifier, values, access))
            problems += condition.problems
        if excluded:
            condition = _condition(qualifier, excluded, access)
            conditions.append(Condition(~condition.matches))
            notices += condition.problems
    return replace(
        found.where(*conditions),
        problems=[*listed.problems, *problems],
        notices=[*listed.notices, *notices],
    )


def explain_empty(search: Search, access: Access, after: datetime | None = None) -> list[str]:
    """Return what a viewer should know if a search finds nothing.

    `after` is the start of the list besides the search, if it has one.
    """
    found = []
    start = max(filter(None, (search.after, after)), default=None)
    if start and start > timezone.now():
        text = gettext("%(time)s is in the future.")
        found.append(text % {"time": format_time(timezone.localtime(start), "moment")})
    actors = [term for term in search.terms if term.name == "actor" and not term.negated]
    for actor in actors[:MAX_EXPLAINED]:
        unknown = known_names.unknown_actor(actor.value, access)
        found += unknown
        if unknown and actor.is_word:
            text = gettext(
                "A word by itself is an actor. For a tag or namespace, write %(tag)s or %(namespace)s."
            )
            terms = {name: Term(name, actor.value) for name in ("tag", "namespace")}
            found.append(text % terms)
    return found


def _condition(qualifier: Qualifier, values: list[str], access: Access) -> Condition:
    """Return the condition for events that match any of the values in a way that the viewer may see."""
    condition = qualifier.condition(values, access)  # type: ignore[misc]
    return replace(condition, matches=condition.matches & qualifier.only(access))


def _restrict_kinds(listed: Plan, search: Search) -> Plan:
    """Return the plan, limited to the kinds that the search's terms leave.

    The terms are combined, so that they can use the index on kinds. If they contradict each other, no kind is
    left, and nothing is read.
    """
    without_categories = set(search.values("category", negated=True))
    without_kinds = _matching_kinds(search, negated=True) or set()
    if Category.PULL in without_categories or without_kinds >= PULLS:
        listed = listed.without_pulls()
    kinds = kinds_asked(search)
    if kinds is None:
        excluded = {"category": without_categories - {Category.PULL}, "kind": without_kinds}
        return listed.where(
            *(Condition(~Q(**{f"{name}__in": keys})) for name, keys in excluded.items() if keys)
        )
    without_kinds |= {kind.key for kind in kinds_of(without_categories)}
    return listed.of_kinds(kinds - without_kinds)


def kinds_asked(search: Search) -> set[str] | None:
    """Return the kinds that the search's terms ask for, or None for all kinds."""
    categories, kinds = search.values("category"), _matching_kinds(search, negated=False)
    if not categories:
        return kinds
    of_categories = {kind.key for kind in kinds_of(categories)}
    return of_categories if kinds is None else kinds & of_categories


def _matching_kinds(search: Search, *, negated: bool) -> set[str] | None:
    """Return the kinds that the search's terms match or, if `negated`, the kinds that they exclude.

    Returns None if the search has no such terms.
    """
    found = [
        {kind for value in values for kind in qualifier.kinds(value)}
        for name, qualifier in QUALIFIERS.items()
        if qualifier.kinds
        and not (negated and qualifier.condition)
        and (values := search.values(name, negated=negated))
    ]
    if not found:
        return None
    return set.union(*found) if negated else set.intersection(*found)
