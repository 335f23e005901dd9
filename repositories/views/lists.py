"""The base class for pages with a list."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils.functional import cached_property
from django.views.generic import TemplateView

from repositories.forms import SearchForm
from repositories.utils.keyset import Keyset, Page


class KeysetListView(TemplateView):
    """A list with keyset pagination. Subclasses define either `keyset` and `get_queryset`, or `get_page`."""

    keyset: Keyset
    page_size = 50
    search_form = SearchForm

    @cached_property
    def search(self) -> SearchForm:
        return self.search_form(self.request.GET)

    def get_queryset(self) -> QuerySet:
        """Return all rows of the list. Abstract, unless a subclass defines `get_page`."""
        raise NotImplementedError

    def get_page(self) -> Page:
        return self.keyset.page_or_first(self.get_queryset(), self.page_size, self.request.GET.get("cursor"))

    def get_rows(self, rows: list[Any]) -> list[Any]:
        """Return the rows of a page in the form that the template needs."""
        return rows

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        page = self.get_page()
        return super().get_context_data(
            **kwargs,
            page=page,
            rows=self.get_rows(page.rows),
            query=self.request.GET,
            search=self.search,
        )
