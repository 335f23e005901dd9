"""Permissions of the API."""

from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from activity.sources.registries import may_add_events
from repositories.models import AccessToken, Scope


def tokens_with_permission() -> QuerySet[AccessToken]:
    """Return all tokens, each with `can_add_events`.

    Registries send hundreds of messages a second, so the permission is loaded with the token, in one query.
    """
    return AccessToken.objects.annotate(can_add_events=may_add_events("user"))


class HasScope(BasePermission):
    """Allows what an access token has the scope for, and whatever the view allows to logged-in users.

    Denies tokens what the view declares no scope for.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        is_answered_with_405 = request.method not in view.allowed_methods
        if not isinstance(request.auth, AccessToken) or is_answered_with_405:
            return True
        needed = self.needed(request.method or "", view)
        if needed == {Scope.READ}:
            self.message = _("This access token can't read events.")
        elif needed == {Scope.WRITE}:
            self.message = _("This access token can't write events.")
        elif needed:
            self.message = _("This access token can't read events or write events.")
        else:
            self.message = _("This access token can't be used here.")
        return not needed.isdisjoint(request.auth.scopes)

    def needed(self, method: str, view: Any) -> frozenset[Scope]:
        if method == "OPTIONS":
            return frozenset().union(*view.scopes.values())
        return view.scopes.get("GET" if method == "HEAD" else method, frozenset())


class CanAddEvents(BasePermission):
    """Allows accounts that have the `add_event` permission: registries and other producers."""

    message = gettext_lazy(
        "This account can't add events. It needs the permission registry_activity.add_event."
    )

    def has_permission(self, request: Request, view: Any) -> bool:
        return bool(request.user and request.user.has_perm("registry_activity.add_event"))
