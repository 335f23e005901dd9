"""The conditions on events that search terms and filters stand for.

The conditions are never NULL, so they can be negated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.utils.translation import gettext

from activity.feed import known_names
from activity.feed.search_values import split_image
from activity.gating import sees_delivery
from activity.models import ActorType, label_of_actor
from activity.models.details import with_detail, with_more_detail
from repositories import names
from repositories.access.resolving import Access
from repositories.models import Policy, Repository
from repositories.utils.among import MAX_LISTED

MAX_BRANCHES = 20
"""The maximum number of values, such as repositories, whose events are read separately and then merged."""
TOKEN = re.compile(r"[0-9a-fA-F]{4,}")
"""The first digits of a token."""
WHOLE_DIGEST = re.compile(r"sha256:.{64}|sha384:.{96}|sha512:.{128}")
"""What is shorter is the beginning of a digest."""
DELETED_ACCOUNT = re.compile(r"#[0-9]{1,9}")
"""The id of an account, as shown if it was deleted."""
User: Any = get_user_model()
NOTHING = Q(pk__in=[])
MAX_EXPLAINED = 3
"""The maximum number of wrong names in a term for which the nearest name is sought."""


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
    problems = _absent(ids_by_name, named, known_names.unknown_repository, access)
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
    return in_any(repositories, problems=_absent(values, found, known_names.unknown_namespace, access))


def in_organizations(values: Sequence[str], access: Access) -> Condition:
    owners = access.organizations().filter(name__in=values)
    repositories = known_names.repositories(access).filter(namespace__organization__in=owners).order_by()
    found = owners.values_list("name", flat=True)
    return in_any(repositories, problems=_absent(values, found, known_names.unknown_organization, access))


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
    problems = _absent(names_only, known, known_names.unknown_account, access)
    return Condition(Q(delivered_by__in=ids) | by_token, problems=problems)


def _any(conditions: Iterable[Q]) -> Q:
    return Q(NOTHING, *conditions, _connector=Q.OR)


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
