"""The names that a viewer may know, and the nearest of them to a name that the viewer got wrong.

The answer to a name that the viewer may not know is the same, after the same queries, whether or not
something with this name exists.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.utils.translation import gettext

from repositories import names
from repositories.access.resolving import Access
from repositories.models import Namespace, Repository
from repositories.utils.text import visible_text

MAX_COMPARED = 200
"""The maximum number of names to compare with a wrong name. Comparing 200 long names takes about 20 ms."""
User: Any = get_user_model()


def repositories(access: Access) -> QuerySet[Repository]:
    """Return the repositories that may have events that the viewer can see."""
    return Repository.objects.all() if access.sees_everything else access.repositories()


def people(access: Access) -> QuerySet:
    """Return the users that the viewer can see: all users, or those in the viewer's organizations."""
    users = User._default_manager.all()
    if access.sees_everything:
        return users
    return users.filter(Q(memberships__organization__in=access.organizations()) | Q(pk=access.viewer_id))


def unknown_repository(name: str, access: Access) -> str:
    """Return the answer to the name of a repository that the viewer can't see."""
    namespace, own = names.split_name(name)
    similar = _similar("name", own) | Q(namespace__name=namespace)
    found = repositories(access).filter(similar).select_related("namespace").order_by()
    text = gettext("There is no repository called %(name)s that you can see.")
    return _with_nearest(text, name, (each.full_name for each in found[:MAX_COMPARED]))


def unknown_namespace(name: str, access: Access) -> str:
    """Return the answer to the name of a namespace without repositories that the viewer can see."""
    used = Namespace.objects.filter(pk__in=repositories(access).order_by().values("namespace"))
    text = gettext("There is no namespace with repositories called %(name)s that you can see.")
    return _with_nearest(text, name, _names(used, "name", name))


def unknown_organization(name: str, access: Access) -> str:
    text = gettext("There is no organization called %(name)s that you can see.")
    return _with_nearest(text, name, _names(access.organizations(), "name", name))


def unknown_account(name: str, access: Access) -> str:
    text = gettext("There is no account called %(name)s that you can see.")
    return _with_nearest(text, name, _names(people(access), User.USERNAME_FIELD, name))


def unknown_actor(name: str, access: Access) -> list[str]:
    """Return the explanation of an empty list of events by an actor, unless the viewer knows the actor."""
    known = [*_names(people(access), User.USERNAME_FIELD, name)]
    if name.casefold() in map(str.casefold, known):
        return []
    text = gettext("This list has no event by an actor called %(name)s.")
    return [_with_nearest(text, name, known)]


def _similar(field: str, name: str) -> Q:
    """Return the condition for names that begin or end as a name does, to bound what is compared."""
    return Q(**{f"{field}__istartswith": name[:1]}) | Q(**{f"{field}__iendswith": name[-1:]})


def _names(rows: QuerySet, field: str, name: str) -> QuerySet:
    similar = rows.filter(_similar(field, name)).order_by().distinct()
    return similar.values_list(field, flat=True)[:MAX_COMPARED]


def _with_nearest(text: str, name: str, known: Iterable[str]) -> str:
    """Return the text about a name, and name the nearest of the known names, if one is near enough."""
    text %= {"name": visible_text(name)}
    by_folded = {each.casefold(): each for each in known if each != name}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    if not near:
        return text
    nearest = gettext("The nearest is %(name)s.") % {"name": by_folded[near[0]]}
    return f"{text} {nearest}"
