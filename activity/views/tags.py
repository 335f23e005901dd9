"""The Tags tab of a repository."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.db.models import QuerySet
from django.urls import reverse

from activity.storage import tags
from repositories.access.levels import Category
from repositories.forms import SearchForm
from repositories.utils.keyset import Key, Keyset
from repositories.views.lists import KeysetListView
from repositories.views.pages import RepositoryPage

ORDERS = {
    "-pushed": ("Newest first", Keyset([Key("last_push", descending=True, type=UUID)])),
    "pushed": ("Oldest first", Keyset([Key("last_push", type=UUID)])),
    "name": ("Name, A to Z", Keyset([Key("name")])),
    "-name": ("Name, Z to A", Keyset([Key("name", descending=True)])),
}
"""The label and the sort order for each value of the `sort` parameter. The first value is the default."""


class TagSearchForm(SearchForm):
    """The search form of the Tags tab, with a choice of sort orders."""

    sort = forms.ChoiceField(required=False, choices=[(value, label) for value, (label, _) in ORDERS.items()])


class TagsView(RepositoryPage, KeysetListView):
    """The Tags tab of a repository. Pull counts are shown only to viewers who may see pulls."""

    tab = "Tags"
    template_name = "activity/tags.html"
    page_size = 25
    search_form = TagSearchForm

    @property
    def keyset(self) -> Keyset:  # type: ignore[override]
        return ORDERS[self.search.values["sort"] or next(iter(ORDERS))][1]

    @property
    def sees_pulls(self) -> bool:
        return Category.PULL.permission in self.permissions

    def get_queryset(self) -> QuerySet:
        found = tags.current_tags(self.repository).filter(name__icontains=self.search.values["q"])
        found = found.select_related("pushed_by_user")
        return tags.with_pulls(found) if self.sees_pulls else found

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        events_url = reverse("registry_activity:repository", kwargs=self.kwargs)
        return super().get_context_data(**kwargs, sees_pulls=self.sees_pulls, events_url=events_url)
