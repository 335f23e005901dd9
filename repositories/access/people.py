"""Find the owners and members of organizations, and users by their exact names."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from guardian.conf import settings as guardian

from repositories import config, names
from repositories.access.resolving import Access
from repositories.accounts import limits
from repositories.models import Membership, Namespace, Organization
from repositories.utils.text import is_storable

MAX_OWNERS = 5
"""The maximum number of owners to name."""
WRONG_USERNAMES = limits.Limit("wrong usernames", 20, timedelta(hours=1))


def username(user: Any) -> str:
    """Return the name with which a user logs in. By default, it is also the name of their own namespace."""
    return user.get_username()


def create_namespace_of(user: Any) -> Namespace | None:
    """Create and return the user's own namespace, or return the existing namespace with its name.

    Returns None if the name isn't valid for a namespace, or if it is reserved or that of the user with which
    django-guardian represents everyone who isn't logged in. A namespace that the registry reported earlier
    stays unclaimed. Its repositories might belong to somebody else, so an MSR admin has to assign an owner.
    """
    name = config.namespace_of_user()(user)
    if not names.is_namespace(name) or names.is_reserved(name) or name == guardian.ANONYMOUS_USER_NAME:
        return None
    return Namespace.objects.get_or_create(name=name, defaults={"user": user})[0]


def owners_to_ask(viewer: Any, namespace: str) -> list[Any]:
    """Return some owners of the organization that a namespace belongs to, if the viewer belongs to it, too.

    They are the people who can give access to what the viewer can't see, whether or not it exists.
    """
    organizations = Organization.objects.filter(namespaces__name=namespace, memberships__user=viewer.pk or 0)
    owners = Membership.objects.filter(
        organization__in=organizations, role=Membership.Role.OWNER, user__is_active=True
    )
    users = get_user_model()._default_manager.filter(memberships__in=owners).distinct()
    return list(users.order_by(get_user_model().USERNAME_FIELD)[:MAX_OWNERS])


def organizations_of(person: Any, access: Access) -> QuerySet[Organization]:
    """Return the organizations that a person belongs to and that the viewer can see."""
    return access.organizations().filter(pk__in=person.memberships.values("organization"))


def user_named(username: str, viewer: Any) -> Any:
    """Return the user with exactly this name, for a viewer who may add people.

    Raises ValidationError if there is none. After too many wrong names, it raises ValidationError for every
    name, so that the viewer can't find out which names exist.
    """

    def find() -> Any:
        users = get_user_model()._default_manager
        key = {get_user_model().USERNAME_FIELD: username}
        return users.filter(**key).first() if is_storable(username) else None

    try:
        user = limits.attempt([WRONG_USERNAMES.of(viewer.pk)], find)
    except limits.LimitExceeded as error:
        raise ValidationError(_("Too many wrong names. Try again in an hour.")) from error
    if user is None:
        raise ValidationError(_("There is no user with this name."))
    return user
