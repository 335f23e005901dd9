"""The base class for pages with a list."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.views.generic import TemplateView

from repositories.forms import ListForm
from repositories.utils.keyset import Keyset, Page
from repositories.utils.parameters import problems_of


class KeysetListView(TemplateView):
    """A list with keyset pagination. Subclasses define either `keyset` and `get_queryset`, or `get_page`."""

    keyset: Keyset
    page_size = 50
    search_form = ListForm
    parameters = frozenset({"cursor"})
    """The parameters that are not fields of the search form."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Return the list, or say what can't be understood of the request instead of showing all rows."""
        if problems := problems_of(request.GET, self.search, self.parameters):
            return render(
                request, "registry_repositories/unreadable.html", {"problems": problems}, status=400
            )
        return super().get(request, *args, **kwargs)

    @cached_property
    def search(self) -> ListForm:
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
        if page.is_first_instead:
            messages.warning(
                self.request, _("That page is not available, so the first page is shown instead.")
            )
        return super().get_context_data(
            **kwargs,
            page=page,
            rows=self.get_rows(page.rows),
            query=self.request.GET,
            search=self.search,
        )
