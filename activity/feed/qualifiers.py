"""The search qualifiers. To add a qualifier, add it to `QUALIFIERS` and to the table in `docs/using.md`.

`search_language.py` uses the qualifiers to parse a search, and `search.py` executes the search.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from activity.catalogue import KINDS, OWN_CATEGORIES, Type
from activity.feed import known_names
from activity.gating import sees_delivery, with_all_details, with_delivery
from activity.models import ActorType, label_of_actor
from activity.models.details import with_detail, with_more_detail
from repositories import names
from repositories.access.levels import Category
from repositories.access.resolving import Access
from repositories.models import Policy, Repository
from repositories.utils.addresses import canonical_host
from repositories.utils.among import MAX_LISTED

MAX_BRANCHES = 20
"""The maximum number of values, such as repositories, whose events are read separately and then merged."""
TOKEN = re.compile(r"[0-9a-fA-F]{4,}")
"""The first digits of a token."""
PART_OF_DIGEST = re.compile(r"[a-z][a-z0-9]*([-_+.][a-z][a-z0-9]*)*:[0-9a-f]+")
WHOLE_DIGEST = re.compile(r"sha256:.{64}|sha384:.{96}|sha512:.{128}")
"""What is shorter is the beginning of a digest."""
DELETED_ACCOUNT = re.compile(r"#[0-9]{1,9}")
"""The id of an account, as shown if it was deleted."""
User: Any = get_user_model()
NOTHING = Q(pk__in=[])
OWN_KINDS = [kind.key for kind in KINDS.values() if kind.category in OWN_CATEGORIES]
"""The kinds of events about actions in this application."""
MAX_EXPLAINED = 3
"""The maximum number of wrong names in a term for which the nearest name is sought."""


class InvalidTerm(ValueError):
    """A term that can't be parsed. The message says why and is shown to the user."""


@dataclass(frozen=True)
class Condition:
    """A condition on events, and the branches that can be read from an index to find the events."""

    matches: Q
    branches: Sequence[Q] = ()
    """Mutually exclusive conditions that together cover all matches. Empty if no index supports them.

    For each branch, an index returns the events in id order.
    """
    exact: bool = True
    """Whether all events in the branches, or in the repositories, match."""
    problems: Sequence[str] = ()
    repositories: Collection[int] | QuerySet[Repository] | None = None
    """The repositories that the matches are in, as ids or a queryset of ids. None if they can be in any."""
    without_pulls: bool = False
    """Whether the index of the branches contains no pulls."""

    @property
    def finds_nothing(self) -> bool:
        """Whether it is known without a query that nothing matches."""
        return self.matches == NOTHING or self.repositories in ([], ())


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


# --- Readers ------------------------------------------------------------------------------------


def read_repository(value: str) -> str:
    """Parse a repository, with or without a tag or a digest: `acme/web`, `acme/web:v1`, `_/alpine`.

    A digest identifies an image by itself, so a tag before it is left out, as clients do.
    """
    value = names.without_scheme(value).removeprefix(f"{names.LIBRARY}/")
    value, digest = names.split_digest(value)
    if digest:
        return f"{read_repository(names.split_reference(value)[0])}@{read_digest(digest)}"
    name, colon, tag = value.partition(":")
    if "/" not in name and names.is_name(name.lower()):
        value = f"{name.lower()}{colon}{tag}"
    if not names.is_name(names.split_reference(value)[0]):
        text = gettext(
            "'%(value)s' is not a repository like acme/web, or a repository with a tag like acme/web:v1."
        )
        raise InvalidTerm(text % {"value": value})
    return value


class Image(NamedTuple):
    """The parts of a repository's name with a tag or a digest, such as `acme/web:v1`."""

    repository: str = ""
    tag: str = ""
    digest: str = ""


def split_image(value: str) -> Image:
    """Split what `read_repository` returns."""
    value, digest = names.split_digest(value)
    return Image(value, "", digest) if digest else Image(*names.split_reference(value))


def read_namespace(value: str) -> str:
    if value != names.LIBRARY and not names.is_namespace(value):
        raise InvalidTerm(
            gettext("namespace:%(value)s is not a namespace like acme, or _ for none.") % {"value": value}
        )
    return value


def read_organization(value: str) -> str:
    if not names.is_namespace(value):
        raise InvalidTerm(
            gettext("organization:%(value)s is not the name of an organization, like acme.")
            % {"value": value}
        )
    return value


def read_tag(value: str) -> str:
    if names.is_name(names.split_reference(value)[0]) and ":" in value:
        raise InvalidTerm(
            gettext("tag:%(value)s contains a repository. Write repo:%(value)s.") % {"value": value}
        )
    if not names.is_tag(value):
        raise InvalidTerm(gettext("tag:%(value)s is not a tag like v1.") % {"value": value})
    return value


def read_digest(value: str) -> str:
    """Parse a digest or the beginning of one. The default algorithm is SHA-256."""
    value = value.removesuffix("…").lower()
    value = value if ":" in value else f"sha256:{value}"
    if not PART_OF_DIGEST.fullmatch(value) or len(value) > names.MAX_DIGEST_LENGTH:
        raise InvalidTerm(
            gettext("digest:%(value)s is not a digest or the beginning of one, like sha256:09ab.")
            % {"value": value}
        )
    return value


def read_label(value: str) -> str:
    if not kinds_with_label(value):
        raise InvalidTerm(
            gettext("label:%(value)s: no label contains all of these words.") % {"value": value}
        )
    return value


def read_address(value: str) -> str:
    """Parse an IP address in any form. Events contain addresses in canonical form."""
    try:
        return canonical_host(str(ipaddress.ip_address(value.strip("[]"))))
    except ValueError:
        raise InvalidTerm(
            gettext("ip:%(value)s is not an IP address like 10.0.0.7 or fd00::7.") % {"value": value}
        ) from None


def read_id(value: str) -> str:
    try:
        return str(UUID(value))
    except ValueError:
        raise InvalidTerm(gettext("id:%(value)s is not an event ID.") % {"value": value}) from None


CHOICES: dict[str, Mapping[str, str]] = {
    "actor-type": {type.value: type.value for type in ActorType},
    "type": {type.value.lower(): type.value for type in Type},
    "category": {category.value: category.value for category in Category},
    "kind": {key: key for key in KINDS},
}
"""The values of the qualifiers that have a fixed set of values, by how they can be written."""


def choice_reader(name: str) -> Callable[[str], str]:
    """Return a reader for a fixed set of values. The reader ignores case, and accepts `-` instead of `_`."""
    choices = CHOICES[name]

    def read_choice(value: str) -> str:
        found = choices.get(_folded(value))
        if found is None:
            elsewhere = [term for term in terms_for_word(value) if not term.startswith(f"{name}:")]
            near = difflib.get_close_matches(_folded(value), choices, n=1)
            suggested = gettext(" or ").join(elsewhere or near)
            if suggested:
                text = gettext("%(term)s is not valid. Did you mean %(suggested)s?")
            else:
                text = gettext("%(term)s is not valid. Valid values: %(values)s.")
            words = {"suggested": suggested, "values": ", ".join(choices)}
            raise InvalidTerm(text % {"term": f"{name}:{value}", **words})
        return found

    return read_choice


def terms_for_word(word: str) -> list[str]:
    """Return the terms that words of the catalogue could stand for, such as `type:delete`."""
    terms = [f"{name}:{word}" for name, choices in CHOICES.items() if _folded(word) in choices]
    wanted = set(word.lower().split())
    if any(wanted <= set(kind.english_label.lower().split()) for kind in KINDS.values()):
        terms.append(f'label:"{word}"' if " " in word else f"label:{word}")
    return terms


def _folded(value: str) -> str:
    return value.lower().replace("-", "_")


# --- Actors -------------------------------------------------------------------------------------

LABELS_OF_ACTORS: dict[str, list[ActorType]] = {}
"""The types of the actors whose labels begin with a word, such as `PRUNING` or `PUSH MIRRORING`."""
for _type in set(ActorType) - {ActorType.USER, ActorType.ANONYMOUS}:
    LABELS_OF_ACTORS.setdefault(label_of_actor(_type, "").strip(), []).append(_type)


def is_actor_label(value: str) -> bool:
    """Return whether a value is what the column of actors shows of an actor who isn't a user."""
    return value == "anonymous" or any(f"{value} ".startswith(f"{label} ") for label in LABELS_OF_ACTORS)


def _by_label(value: str) -> list[Q]:
    """Return the conditions for the actors whose labels are, or begin with, a value in any case."""
    found = []
    if value.upper().startswith("USER ") and names.is_reserved(value[len("USER ") :]):
        found.append(Q(actor_type=ActorType.USER, actor_name__in=_spellings([value[len("USER ") :]])))
    for label, types in LABELS_OF_ACTORS.items():
        if value.upper() == label:
            found.append(Q(actor_type__in=types))
        elif value.upper().startswith(f"{label} "):
            name = value[len(label) :].strip()
            found.append(Q(actor_type__in=types, actor_name__in=_spellings([name])))
    return found


def _spellings(values: Sequence[str]) -> list[str]:
    """Return the names that differ from a value only in case: known names, or else the usual spellings."""
    found: set[str] = set()
    for model, field in ((User, User.USERNAME_FIELD), (Policy, "public_id")):
        same = _any(Q(**{f"{field}__iexact": value}) for value in values)
        rows = model._default_manager.filter(same).order_by().values_list(field, flat=True)
        found |= {*rows[: MAX_BRANCHES * len(values)]}
    folded = {name.casefold() for name in found}
    for value in values:
        spellings = (str,) if value.casefold() in folded else (str, str.lower, str.upper, str.title)
        found |= {spelling(value) for spelling in spellings}
    return sorted(found)


# --- Conditions ---------------------------------------------------------------------------------
# These conditions are never NULL, so they can be negated.


def branches_of(column: str, values: Sequence) -> list[Q]:
    """Return a branch for each value, or [] if there are too many values.

    The column must have an index whose last column is the id.
    """
    return [Q(**{column: value}) for value in values] if len(values) <= MAX_BRANCHES else []


def in_repositories(values: Sequence[str], access: Access) -> Condition:
    """Return the condition for events in these repositories.

    A value with a tag or a digest matches only events with that tag or digest.
    """
    images = [split_image(value) for value in values]
    ids_by_name = _ids_by_name({image.repository for image in images}, access)
    found = sorted({pk for ids in ids_by_name.values() for pk in ids})
    matches, exact = Q(repository__in=found), True
    if any(image.tag or image.digest for image in images):
        matches &= _any(
            Q(repository__in=ids_by_name[image.repository])
            & (Q(tag=image.tag) if image.tag else Q())
            & (Q(digest__startswith=image.digest) if image.digest else Q())
            for image in images
        )
        exact = False
    named = [name for name, ids in ids_by_name.items() if ids]
    problems = _absent(ids_by_name, named, known_names.no_repository, access)
    for image in images:
        if image.tag and "/" not in image.repository and not ids_by_name[image.repository]:
            problems.append(gettext("'%(name)s:' is not a search term either.") % {"name": image.repository})
    return Condition(matches, exact=exact, repositories=found, problems=problems)


def _ids_by_name(wanted: Collection[str], access: Access) -> dict[str, list[int]]:
    """Return the ids of the repositories that have each of these names, or the name without the host.

    Clients write a host before a name. A registry can also report a name that contains a host.
    """
    split_names = {names.split_name(each) for name in wanted for each in (name, names.without_host(name))}
    any_name = _any(Q(namespace__name=namespace, name=name) for namespace, name in split_names)
    known = known_names.repositories(access).filter(any_name).select_related("namespace").order_by()
    ids: dict[str, list[int]] = {}
    # This includes deleted repositories, so several repositories can have the same name.
    for repository in known:
        ids.setdefault(repository.full_name, []).append(repository.pk)
    return {name: ids.get(name) or ids.get(names.without_host(name), []) for name in wanted}


def in_namespaces(values: Sequence[str], access: Access) -> Condition:
    repositories = known_names.repositories(access).filter(namespace__name__in=values).order_by()
    found = repositories.values_list("namespace__name", flat=True).distinct()
    return in_any(repositories, problems=_absent(values, found, known_names.no_namespace, access))


def in_organizations(values: Sequence[str], access: Access) -> Condition:
    owners = access.organizations().filter(name__in=values)
    repositories = known_names.repositories(access).filter(namespace__organization__in=owners).order_by()
    found = owners.values_list("name", flat=True)
    return in_any(repositories, problems=_absent(values, found, known_names.no_organization, access))


def in_any(repositories: QuerySet[Repository], problems: Sequence[str] = ()) -> Condition:
    """Return the condition for events in any of these repositories."""
    few = list(repositories.values_list("pk", flat=True)[: MAX_LISTED + 1])
    found: Any = few if len(few) <= MAX_LISTED else repositories.values("pk")
    return Condition(Q(repository__in=found), problems=problems, repositories=found)


def _absent(
    values: Iterable[str], found: Iterable[str], explain: Callable[[str, Access], str], access: Access
) -> list[str]:
    """Return a problem for each name that wasn't found, but no more than a page can explain."""
    absent = sorted(set(values) - set(found))
    return [explain(name, access) for name in absent[:MAX_EXPLAINED]]


def by_actors(values: Sequence[str], access: Access) -> Condition:
    """Return the condition for events by actors with these names or labels, in any case."""
    anonymous = any(value.lower() == "anonymous" for value in values)
    stored = [*_spellings(values), *([""] if anonymous else [])]  # anonymous actors have no name
    named = Q(actor_name__in=stored)
    labels = [condition for value in values for condition in _by_label(value)]
    return Condition(_any([named, *labels]), [] if labels else branches_of("actor_name", stored))


def with_tags(values: Sequence[str], access: Access) -> Condition:
    return Condition(Q(tag__in=values), branches_of("tag", values), without_pulls=True)


def with_digests(values: Sequence[str], access: Access) -> Condition:
    """Return the condition for events with these digests, or digests that begin with a value."""
    if all(map(WHOLE_DIGEST.fullmatch, values)):
        return with_whole_digests(values)
    return Condition(_any(Q(digest__startswith=value) for value in values))


def with_whole_digests(values: Sequence[str]) -> Condition:
    return Condition(Q(digest__in=values), branches_of("digest", values), without_pulls=True)


def from_addresses(values: Sequence[str], access: Access) -> Condition:
    return Condition(_any(with_detail("client_address", value) for value in values))


def of_requests(values: Sequence[str], access: Access) -> Condition:
    return Condition(_any(with_detail("request_id", value) for value in values))


def about(values: Sequence[str], access: Access) -> Condition:
    """Return the condition for events whose subject or members contain a name as a whole, in any case."""
    words = [rf"(^|[^\w.@+/-]){re.escape(value)}($|[^\w.@+/-])" for value in values]
    keys = ("subject", "members")
    return Condition(_any(with_more_detail(key, word, "iregex") for key in keys for word in words))


def delivered_by(values: Sequence[str], access: Access) -> Condition:
    named = User._default_manager.filter(**{f"{User.USERNAME_FIELD}__in": values})
    accounts = dict(named.values_list(User.USERNAME_FIELD, "pk"))
    ids = [*accounts.values(), *(int(value[1:]) for value in values if DELETED_ACCOUNT.fullmatch(value))]
    tokens = [value.lower() for value in values if TOKEN.fullmatch(value)]
    by_token = _any(Q(delivered_with__startswith=token) for token in tokens)
    names_only = [v for v in values if not TOKEN.fullmatch(v) and not DELETED_ACCOUNT.fullmatch(v)]
    known = accounts if sees_delivery(access) else names_only
    problems = _absent(names_only, known, known_names.no_account, access)
    return Condition(Q(delivered_by__in=ids) | by_token, problems=problems)


def _any(conditions: Iterable[Q]) -> Q:
    return Q(NOTHING, *conditions, _connector=Q.OR)


def kinds_with_label(words: str) -> list[str]:
    """Return the kinds whose labels contain all of these words."""
    wanted = words.lower().split()
    return [kind.key for kind in KINDS.values() if all(word in kind.english_label.lower() for word in wanted)]


# --- The table ----------------------------------------------------------------------------------

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
    return found if access.can_see_any_pulls else [_without_pulls(qualifier) for qualifier in found]


def _without_pulls(qualifier: Qualifier) -> Qualifier:
    """Return a qualifier whose help doesn't offer pulls."""
    if isinstance(qualifier.meaning, Promise):
        return qualifier
    values = [value for value in qualifier.meaning.split(", ") if "pull" not in value and value != "GET"]
    return replace(qualifier, meaning=", ".join(values))
