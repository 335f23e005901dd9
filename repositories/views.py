"""Pages about repositories and about oneself."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import F, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse_lazy
from django.views.generic import TemplateView, UpdateView

from repositories.access import Access
from repositories.forms import ProfileForm
from repositories.keyset import InvalidCursor, Key, Keyset
from repositories.models import Profile
from repositories.tabs import tabs_for

PAGE_SIZE = 50
BY_NAME = Keyset([Key("namespace_name"), Key("name")])


class RepositoryListView(TemplateView):
    """The repositories that the viewer can see, by name, with a search for a part of the name."""

    template_name = "repositories/list.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        access = Access.of(self.request.user)
        search = self.request.GET.get("q", "").strip().replace("\0", "")
        repositories = (
            access.repositories().select_related("namespace").annotate(namespace_name=F("namespace__name"))
        )
        for part in search.split("/"):
            repositories = repositories.filter(Q(namespace_name__icontains=part) | Q(name__icontains=part))
        try:
            page = BY_NAME.page(repositories, PAGE_SIZE, self.request.GET.get("cursor"))
        except InvalidCursor:
            page = BY_NAME.page(repositories, PAGE_SIZE)
        rows = [(row, tabs_for(row, access.permissions_on(row))[0][1]) for row in page.rows]
        return super().get_context_data(**kwargs, page=page, rows=rows, search=search, section="repositories")


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
