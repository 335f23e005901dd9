"""The Pulls tab of a repository: who pulled from it, and how often."""

from __future__ import annotations

from typing import Any

from django import forms
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from activity.feed.choices import PERIODS
from activity.feed.pullers import Pullers, find_pullers
from repositories import names
from repositories.forms import ListForm
from repositories.utils.keyset import Page
from repositories.views.lists import KeysetListView
from repositories.views.pages import RepositoryPage

DEFAULT_PERIOD = "week"


class PullsForm(ListForm):
    """A time range, and optionally a tag."""

    range = forms.ChoiceField(
        label=_("Time range"),
        required=False,
        choices=[
            ("" if name == DEFAULT_PERIOD else name, label)
            for name, (label, _length) in sorted(PERIODS.items(), key=lambda item: item[0] != DEFAULT_PERIOD)
        ],
    )
    tag = forms.CharField(label=_("Tag"), required=False, max_length=names.MAX_TAG_LENGTH)

    def clean_tag(self) -> str:
        tag: str = self.cleaned_data["tag"]
        if tag and not names.is_tag(tag):
            raise forms.ValidationError(gettext("Enter a tag like v1, without the repository."))
        return tag


class PullsView(RepositoryPage, KeysetListView):
    """The sums of pulls by person or program, for viewers who may see pulls."""

    tab = "registry_activity:pulls"
    template_name = "registry_activity/pulls.html"
    search_form = PullsForm
    parameters = frozenset()

    @cached_property
    def pullers(self) -> Pullers:
        after = timezone.now() - PERIODS[self.period][1]
        return find_pullers(self.access, self.repository, after, self.search.values["tag"])

    @property
    def period(self) -> str:
        return self.search.values["range"] or DEFAULT_PERIOD

    def get_page(self) -> Page:
        return Page(self.pullers.rows, None, None)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        events_url = reverse("registry_activity:repository", kwargs=self.kwargs)
        return super().get_context_data(
            **kwargs, pullers=self.pullers, period=self.period, events_url=events_url
        )
