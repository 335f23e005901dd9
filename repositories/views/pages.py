"""The base classes for pages, and the redirect to the first tab of a repository."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.utils.functional import cached_property
from django.views.generic.base import ContextMixin, View

from repositories import config
from repositories.access.levels import READ_PERMISSIONS
from repositories.access.resolving import Access, repository_or_404
from repositories.models import Repository
from repositories.tabs import tabs_for


class ViewerMixin(ContextMixin, View):
    """Provides the viewer's access rights."""

    @cached_property
    def access(self) -> Access:
        return Access.for_user(self.request.user)


class RepositoryPage(ViewerMixin):
    """A page on one of a repository's tabs. Returns 404 to viewers who can't open the tab.

    The view's URL must have the parameters `namespace` and `name`, and its template must extend
    `registry_repositories/repository.html`. List this class before other view classes.
    """

    tab: str
    """The URL name of the tab that the page belongs to."""

    @cached_property
    def repository(self) -> Repository:
        return repository_or_404(self.access, self.kwargs["namespace"], self.kwargs["name"])

    @cached_property
    def permissions(self) -> frozenset[str]:
        return self.access.permissions_on(self.repository)

    def require(self, permission: str) -> None:
        """Raise Http404 unless the viewer has this permission on the repository."""
        if permission not in self.permissions:
            raise Http404

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.tabs = tabs_for(self.repository, self.permissions)
        if self.tab not in [tab.url_name for tab, _ in self.tabs]:
            raise Http404
        return super().dispatch(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {
            **super().get_context_data(**kwargs),
            "repository": self.repository,
            "permissions": self.permissions,
            "image": f"{config.registry_host()}/{self.repository.full_name}",
            "can_read": bool(READ_PERMISSIONS & self.permissions),
            "tabs": self.tabs,
            "current_tab": next(tab.label for tab, _ in self.tabs if tab.url_name == self.tab),
            "section": "repositories",
        }


def first_tab(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """Redirect from a repository's URL to the first tab that the viewer can open."""
    access = Access.for_user(request.user)
    repository = repository_or_404(access, namespace, name)
    return redirect(tabs_for(repository, access.permissions_on(repository))[0][1])
