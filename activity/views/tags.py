"""The Tags tab of a repository."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.urls import reverse
from django.views.generic import TemplateView

from activity.storage import tags
from repositories.access.levels import Category
from repositories.utils.keyset import Key, Keyset
from repositories.views.pages import RepositoryPage

PAGE_SIZE = 25
ORDERS = {
    "name": Keyset([Key("name")]),
    "-name": Keyset([Key("name", descending=True)]),
    "pushed": Keyset([Key("last_push", type=UUID)]),
    "-pushed": Keyset([Key("last_push", descending=True, type=UUID)]),
}
NEWEST_FIRST = "-pushed"
SORTS = {"-pushed": "Newest first", "pushed": "Oldest first", "name": "Name, A to Z", "-name": "Name, Z to A"}


class TagsView(RepositoryPage, TemplateView):
    """The Tags tab of a repository. Pull counts are shown only to viewers who may see pulls."""

    tab = "Tags"
    template_name = "activity/tags.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        search = self.request.GET.get("q", "").strip().replace("\0", "")
        sort = self.request.GET.get("sort", NEWEST_FIRST)
        sort = sort if sort in ORDERS else NEWEST_FIRST
        sees_pulls = Category.PULL.permission in self.permissions
        found = tags.current_tags(self.repository).select_related("pushed_by_user")
        if search:
            found = found.filter(name__icontains=search)
        if sees_pulls:
            found = tags.with_pulls(found)
        page = ORDERS[sort].page_or_first(found, PAGE_SIZE, self.request.GET.get("cursor"))
        return super().get_context_data(
            **kwargs,
            page=page,
            search=search,
            sort=sort,
            sorts=SORTS,
            sees_pulls=sees_pulls,
            events_url=reverse("registry_activity:repository", kwargs=self.kwargs),
            query=self.request.GET,
        )
