"""The search qualifiers. To add a qualifier, add it to `QUALIFIERS` and to the table in `docs/using.md`.

`search_language.py` uses the qualifiers to parse a search, and `search.py` executes the search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from django.db.models import Q
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from activity.catalogue import KINDS, OWN_CATEGORIES, Type
from activity.feed.conditions import (
    Condition,
    about,
    by_actors,
    delivered_by,
    from_addresses,
    in_namespaces,
    in_organizations,
    in_repositories,
    of_requests,
    with_digests,
    with_tags,
)
from activity.feed.search_values import (
    choice_reader,
    kinds_with_label,
    read_address,
    read_digest,
    read_id,
    read_label,
    read_namespace,
    read_organization,
    read_repository,
    read_tag,
)
from activity.gating import sees_delivery, sees_pulls, with_all_details, with_delivery
from activity.models import ActorType
from repositories.access.levels import Category
from repositories.access.resolving import Access

OWN_KINDS = [kind.key for kind in KINDS.values() if kind.category in OWN_CATEGORIES]
"""The kinds of events about actions in this application."""


@dataclass(frozen=True)
class Qualifier:
    """The name of a search term, and what the term means: a condition, kinds of events, or a time range."""

    name: str
    examples: tuple[str, ...]
    meaning: str | Promise
    """What the examples match, as shown in the search help: a translated text, or a list of values."""
    read: Callable[[str], str] = str
    """Parses a value. Raises InvalidTerm."""
    condition: Callable[[list[str], Access], Condition] | None = None
    """Returns the condition for events that match any of the values, among those that a viewer may know."""
    kinds: Callable[[str], Iterable[str]] | None = None
    """Returns the kinds of events that a value matches. `search.py` combines these kinds with other terms.

    If there is a condition as well, only some events of these kinds match.
    """
    time_range: Callable[[datetime, datetime], tuple[datetime | None, datetime | None]] | None = None
    """Given the start and end of a value's period, returns the search's bounds as (after, before)."""
    aliases: tuple[str, ...] = ()
    only: Callable[[Access], Q] = lambda access: Q()
    """Returns the condition for the events of which a viewer may see what the term is about.

    The term matches no other events, and neither does its negation exclude them.
    """
    offered: Callable[[Access], bool] = lambda access: True
    """Returns whether the term can find anything for a viewer."""
    limit: str | Promise = ""
    """What the term finds for a viewer who doesn't see everything."""


QUALIFIERS = {
    qualifier.name: qualifier
    for qualifier in [
        Qualifier(
            "repo",
            ("repo:acme/web", "repo:acme/web:v1"),
            _("a repository, optionally with a tag or a digest, as in commands for images"),
            read_repository,
            in_repositories,
            aliases=("repository",),
        ),
        Qualifier(
            "namespace",
            ("namespace:acme",),
            _("all repositories of a namespace; _ for repositories without one"),
            read_namespace,
            in_namespaces,
            aliases=("project",),
        ),
        Qualifier(
            "organization",
            ("organization:acme",),
            _("all repositories in the namespaces of an organization"),
            read_organization,
            in_organizations,
            aliases=("org",),
        ),
        Qualifier("tag", ("tag:v1",), _("a tag"), read_tag, with_tags),
        Qualifier(
            "digest",
            ("digest:sha256:09ab",),
            _("a digest, or the beginning of one"),
            read_digest,
            with_digests,
            aliases=("sha",),
        ),
        Qualifier(
            "actor",
            ("actor:jane", 'actor:"PRUNING 500004C0"', "actor:SYSTEM"),
            _("a username, the ID of a policy, or what the list shows"),
            condition=by_actors,
            aliases=("user", "username", "operator"),
        ),
        Qualifier(
            "subject",
            ("subject:mara",),
            _("who or what an access, account or system event is about, such as the user who got a grant"),
            condition=about,
            kinds=lambda _: OWN_KINDS,
        ),
        Qualifier(
            "actor-type",
            ("actor-type:pruning",),
            ", ".join(ActorType.values),
            choice_reader("actor-type"),
            lambda values, _: Condition(Q(actor_type__in=values)),
        ),
        Qualifier(
            "type",
            ("type:delete",),
            ", ".join(Type.values),
            choice_reader("type"),
            kinds=lambda type: [kind.key for kind in KINDS.values() if kind.type == type],
        ),
        Qualifier(
            "category",
            ("category:push",),
            ", ".join(Category.values),
            choice_reader("category"),
        ),
        Qualifier(
            "kind",
            ("kind:delete_tag",),
            _("a kind of event"),
            choice_reader("kind"),
            kinds=lambda kind: [kind],
        ),
        Qualifier(
            "label", ('label:"delete tag"',), _("words of a label"), read_label, kinds=kinds_with_label
        ),
        Qualifier(
            "ip",
            ("ip:10.0.0.7",),
            _("the client's address"),
            read_address,
            from_addresses,
            aliases=("address",),
            only=with_all_details,
            limit=_("only your own account events, and deliveries to repositories that you administer"),
        ),
        Qualifier(
            "request",
            ("request:f47ac10b-58cc-4372-a567-0e02b2c3d479",),
            _("all events of one request"),
            condition=of_requests,
            only=with_all_details,
            limit=_("only your own account events, and deliveries to repositories that you administer"),
        ),
        Qualifier(
            "via",
            ("via:acme-registry", "via:4f1c09ab"),
            _("the account that delivered the event, or the first digits of its access token"),
            read=lambda value: value.removesuffix("…"),
            condition=delivered_by,
            only=with_delivery,
            offered=sees_delivery,
            limit=_("nothing, because only MSR admins and auditors can search for who delivered an event"),
        ),
        Qualifier(
            "id",
            ("id:01a20314-db6f-7c5e-8567-085707aa40d7",),
            _("one event"),
            read_id,
            lambda ids, _: Condition(Q(pk__in=ids), [Q(pk__in=ids)]),
        ),
        Qualifier(
            "after",
            ("after:2026-11-01", "after:7d", "after:monday"),
            _("at a time or later: a year, month or day, a day with a time, a weekday, or an age"),
            time_range=lambda start, end: (start, None),
        ),
        Qualifier(
            "before",
            ("before:2026-11", "before:24h"),
            _("before a time"),
            time_range=lambda start, end: (None, start),
        ),
        Qualifier(
            "on",
            ("on:yesterday", "on:2026-11-22"),
            _("within a day, month or year"),
            time_range=lambda start, end: (start, end),
        ),
    ]
}
"""The qualifiers by name. `category` has no condition: `search.py` combines categories with kinds."""


def offered_qualifiers(access: Access) -> list[Qualifier]:
    """Return the qualifiers that can find something for a viewer, for the search help."""
    found = [qualifier for qualifier in QUALIFIERS.values() if qualifier.offered(access)]
    return found if sees_pulls(access) else [_without_pulls(qualifier) for qualifier in found]


def _without_pulls(qualifier: Qualifier) -> Qualifier:
    """Return a qualifier whose help doesn't offer pulls."""
    if isinstance(qualifier.meaning, Promise):
        return qualifier
    values = [value for value in qualifier.meaning.split(", ") if "pull" not in value and value != "GET"]
    return replace(qualifier, meaning=", ".join(values))
