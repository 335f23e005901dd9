"""The list of repositories, and one's own settings."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse_lazy
from django.views.generic import TemplateView, UpdateView

from repositories.access import Access
from repositories.forms import ProfileForm
from repositories.keyset import BY_NAME, InvalidCursor
from repositories.levels import READING
from repositories.models import Profile, Repository
from repositories.tabs import tabs_for

PAGE_SIZE = 50


class RepositoryListView(TemplateView):
    """The repositories that the viewer can see, by name, with a search for a part of the name."""

    template_name = "repositories/list.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        access = Access.of(self.request.user)
        search = self.request.GET.get("q", "").strip().replace("\0", "")
        repositories = access.repositories().with_names()
        for part in search.split("/"):
            repositories = repositories.filter(Q(namespace_name__icontains=part) | Q(name__icontains=part))
        try:
            page = BY_NAME.page(repositories, PAGE_SIZE, self.request.GET.get("cursor"))
        except InvalidCursor:
            page = BY_NAME.page(repositories, PAGE_SIZE)
        rows = [self.row(repository, access.permissions_on(repository)) for repository in page.rows]
        return super().get_context_data(
            **kwargs, page=page, rows=rows, search=search, query=self.request.GET, section="repositories"
        )

    def row(self, repository: Repository, permissions: frozenset[str]) -> dict[str, Any]:
        """Return what the list tells of a repository; to those who may not read it, only its name."""
        return {
            "repository": repository,
            "url": tabs_for(repository, permissions)[0][1],
            "description": repository.description if READING & permissions else "",
        }


class ProfileView(UpdateView):
    """One's own settings."""

    template_name = "repositories/settings.html"
    form_class = ProfileForm
    success_url = reverse_lazy("repositories:settings")

    def get_object(self, queryset: Any = None) -> Profile:
        return Profile.objects.get_or_create(user_id=self.request.user.pk or 0)[0]

    def form_valid(self, form: Any) -> HttpResponse:
        messages.success(self.request, "Saved.")
        return super().form_valid(form)


def home(request: HttpRequest) -> HttpResponse:
    """Lead to the list of repositories."""
    return redirect("repositories:list")
