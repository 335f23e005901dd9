"""The Tags tab of a repository."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from activity.feed.tag_list import DEFAULT_ORDER, ORDERS, Row, TagList
from activity.gating import sees_pulls
from activity.models import Tag
from repositories.forms import DaysField, ListForm, SearchForm
from repositories.utils.keyset import Keyset
from repositories.views.lists import KeysetListView
from repositories.views.pages import RepositoryPage


class TagSearchForm(SearchForm):
    """The search form of the Tags tab, with a choice of sort orders."""

    sort = forms.ChoiceField(
        label=_("Sort"), required=False, choices=[(value, order[0]) for value, order in ORDERS.items()]
    )


class UsedTagSearchForm(TagSearchForm):
    """The search form for viewers who may see pulls."""

    not_pulled_for = DaysField(label=_("Not pulled for (days)"))


class TagsView(RepositoryPage, KeysetListView):
    """The Tags tab of a repository. Attachments, such as signatures, are shown under the tags of their image.

    Pull counts are shown only to viewers who may see pulls.
    """

    tab = "registry_activity:tags"
    template_name = "registry_activity/tags.html"
    page_size = 25

    @property
    def search_form(self) -> type[ListForm]:  # type: ignore[override]
        return UsedTagSearchForm if sees_pulls(self.access, self.repository) else TagSearchForm

    @property
    def keyset(self) -> Keyset:  # type: ignore[override]
        return ORDERS[self.search.values["sort"] or DEFAULT_ORDER][1]

    @cached_property
    def listed(self) -> TagList:
        chosen = self.search.values
        return TagList(self.access, self.repository, chosen["q"], chosen.get("not_pulled_for"))

    def get_queryset(self) -> QuerySet:
        return self.listed.tags()

    def get_rows(self, rows: list[Tag]) -> list[Row]:
        return self.listed.rows(rows)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        events_url = reverse("registry_activity:repository", kwargs=self.kwargs)
        shows_pulls = self.listed.sees_pulls
        return super().get_context_data(**kwargs, sees_pulls=shows_pulls, events_url=events_url)
