"""The form on an events page: search, filters, time range, sort order, and whether to include pulls."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms
from django.http import QueryDict
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from activity import catalogue
from activity.catalogue import KINDS
from activity.feed.ordering import LONGEST_SORT, SORTABLE
from activity.feed.plans import PULLS
from activity.feed.search import kinds_asked
from activity.feed.search_language import MAX_LENGTH, Search, Term, parse
from activity.feed.search_times import TimeField, input_of
from activity.feed.search_values import (
    Image,
    InvalidTerm,
    read_digest,
    read_repository,
    read_tag,
    split_image,
)
from activity.models import MAX_ACTOR_LENGTH, actor_name_from_label
from repositories import config, names
from repositories.access.levels import Category
from repositories.utils.parameters import problems_of

PERIODS = {
    "hour": (_("Last hour"), timedelta(hours=1)),
    "day": (_("Last 24 hours"), timedelta(days=1)),
    "week": (_("Last 7 days"), timedelta(days=7)),
    "month": (_("Last 30 days"), timedelta(days=30)),
    "quarter": (_("Last 90 days"), timedelta(days=90)),
}
LIMITED = {
    "hour": _("The list is limited to the last hour, and by From and To."),
    "day": _("The list is limited to the last 24 hours, and by From and To."),
    "week": _("The list is limited to the last 7 days, and by From and To."),
    "month": _("The list is limited to the last 30 days, and by From and To."),
    "quarter": _("The list is limited to the last 90 days, and by From and To."),
}
"""What to say if a period limits the list beside other times."""
RANGES = {
    "all": _("All time"),
    **{name: label for name, (label, _) in PERIODS.items()},
    "custom": _("Custom range"),
}
SORTS = ["time", *SORTABLE]
FILTERS = ("repository", "tag", "category", "type", "actor")
"""The fields that are also API filters, under the same names."""


@dataclass(frozen=True)
class Choice:
    """The choices in effect, after the time range has been limited for sorting."""

    range: str
    after: datetime | None
    before: datetime | None
    column: str
    descending: bool
    exclude_pull: bool
    filters: Mapping[str, Any]
    """The chosen API filters, except for the search, time and pulls."""
    search: Search
    shortened: bool
    """Whether the time range was shortened to `LONGEST_SORT` because of the sort column."""

    @property
    def parameters(self) -> dict[str, Any]:
        """The choices as API filters. Times are absolute, because the API has no time zone."""
        bounds = {"after": self.after, "before": self.before}
        times = {name: iso_milliseconds(moment) for name, moment in bounds.items() if moment}
        search = {"search": text} if (text := str(self.search)) else {}
        return {**search, **self.filters, **times, **({"exclude_pull": "true"} if self.exclude_pull else {})}


def iso_milliseconds(moment: datetime) -> str:
    """Format a time as ISO 8601 in UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _contradiction(part: str, known: str) -> str:
    """Return the error about a part of an image that another field says differently."""
    if part == "repository":
        text = gettext("The repository is not %(known)s, as another field says.")
    elif part == "tag":
        text = gettext("The tag is not %(known)s, as another field says.")
    else:
        text = gettext("The digest is not %(known)s, as another field says.")
    return text % {"known": known}


class ActivityForm(forms.Form):
    """The filter form on an events page, read from the query string so that filtered pages can be shared."""

    q = forms.CharField(label=_("Search"), required=False, max_length=MAX_LENGTH)
    range = forms.ChoiceField(label=_("Time range"), choices=list(RANGES.items()))
    after = TimeField(label=_("From"), required=False)
    before = TimeField(label=_("To"), required=False)
    repository = forms.CharField(label=_("Repository"), required=False, max_length=names.MAX_REFERENCE_LENGTH)
    tag = forms.CharField(label=_("Tag"), required=False, max_length=names.MAX_REFERENCE_LENGTH)
    digest = forms.CharField(label=_("Digest"), required=False, max_length=names.MAX_DIGEST_LENGTH)
    category = forms.ChoiceField(label=_("Category"), required=False)
    type = forms.ChoiceField(label=_("Type"), required=False)
    actor = forms.CharField(label=_("Initiated by"), required=False, max_length=MAX_ACTOR_LENGTH)
    sort = forms.ChoiceField(
        label=_("Sort"), choices=[(f"{sign}{name}", name) for name in SORTS for sign in ("", "-")]
    )
    exclude_pull = forms.TypedChoiceField(
        label=_("Exclude pull"),
        choices=[("true", _("yes")), ("false", _("no"))],
        coerce=lambda text: text == "true",
    )

    DEFAULTS = {"range": "all", "sort": "-time", "exclude_pull": "true"}

    def __init__(
        self,
        query: QueryDict,
        *,
        offers_pulls: bool,
        excludes_pulls: bool,
        scanning_enabled: bool,
        sees_system: bool,
        fixed: Collection[str],
        known: Collection[str],
        repository: str = "",
    ) -> None:
        """Build the form without the fields in `fixed`, whose values are determined by the page.

        `known` contains the names of the page's other parameters, and `repository` is the repository that the
        page is about, if any. `excludes_pulls` is whether pulls are excluded by default.
        """
        defaults = self.DEFAULTS if excludes_pulls else {**self.DEFAULTS, "exclude_pull": "false"}
        self.offers_pulls = offers_pulls
        super().__init__({**defaults, **{name: query[name] for name in query if query[name]}})
        self.query = query
        self.known = known
        self.page_repository = repository
        for name in fixed:
            del self.fields[name]
        if not offers_pulls:
            del self.fields["exclude_pull"]
            self.known = {*known, "exclude_pull"}  # the viewer sees no pulls, whatever its value is
        pulls = {catalogue.Type.GET, Category.PULL}
        choices: dict[str, Iterable[Any]] = {
            "category": catalogue.offered_categories(scanning_enabled, sees_system),
            "type": catalogue.offered_types(scanning_enabled, sees_system),
        }
        for name, values in choices.items():
            offered = [(each.value, each.label) for each in values if offers_pulls or each not in pulls]
            self.fields[name].choices = [("", gettext("All")), *offered]  # type: ignore[attr-defined]

    @cached_property
    def problems(self) -> list[str]:
        """Why the list can't be shown as the query asks. Nothing is shown then."""
        repeatable = {"exclude_pull"}  # the form submits the value of the checkbox after a hidden value
        problems = problems_of(self.query, self, self.known, repeatable)
        after, before = self.cleaned_data.get("bounds", (None, None))
        range_ = Search() if self.has_error("before") else Search(after=after, before=before)
        return [*problems, *self.search.problems, *(self.search & range_).contradictions]

    @cached_property
    def notices(self) -> list[str]:
        """What the viewer should know about how the query was read."""
        periods = (self.cleaned_data.get(name) for name in ("after", "before"))
        notices = [period.notice for period in periods if period and period.notice]
        if self.asks_only_for_pulls and not self.offers_pulls:
            notices.append(gettext("Pulls are shown to repository admins. You can't see any here."))
        elif self.asks_only_for_pulls and self.query.get("exclude_pull") == "true":
            notices.append(
                gettext("Pulls are shown although they are excluded, because nothing else is asked for.")
            )
        if self.has_times and (range_ := self.cleaned_data.get("range")) in PERIODS:
            notices.append(str(LIMITED[range_]))
        return notices

    @cached_property
    def search(self) -> Search:
        self.is_valid()
        digest = self.cleaned_data.get("digest")
        search = parse(self.cleaned_data.get("q", ""), timezone.get_current_timezone())
        if digest and search.values("digest"):  # they would be alternatives
            return replace(
                search, problems=(*search.problems, gettext("Give the digest either here or in the search."))
            )
        return search & Search((Term("digest", digest),)) if digest else search

    def clean_repository(self) -> Image:
        """Also accept a repository as in a search or in a command, such as `_/alpine` or `acme/web:v1`."""
        return self._read_image(self.cleaned_data["repository"])

    def clean_tag(self) -> Image:
        """Check a tag. It can be written as in the column: `acme/web:v1`."""
        value = self.cleaned_data["tag"]
        if ":" in value:
            return self._read_image(value)
        return Image(tag=self._read(read_tag, value)) if value else Image()

    def clean_digest(self) -> Image:
        value = self.cleaned_data["digest"]
        return Image(digest=self._read(read_digest, value)) if value else Image()

    def _read_image(self, value: str) -> Image:
        value = names.without_scheme(value).removeprefix(f"{config.registry_host()}/")
        return split_image(self._read(read_repository, value)) if value else Image()

    @staticmethod
    def _read(reader: Any, value: str) -> str:
        try:
            return reader(value)
        except InvalidTerm as problem:
            raise forms.ValidationError(str(problem)) from None

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        range_ = cleaned.get("range", "all")
        after, before = (cleaned[name].start if cleaned.get(name) else None for name in ("after", "before"))
        if range_ in PERIODS:
            start = timezone.now() - PERIODS[range_][1]
            after = max(after, start) if after else start
        if after and before and after >= before:
            self.add_error("before", gettext("The end of the range must be after its start."))
        repository, tag, digest = self._combine_images(cleaned)
        return {
            **cleaned,
            "bounds": (after, before),
            "repository": "" if self.page_repository else repository,
            "tag": tag,
            "digest": digest,
            "category": [cleaned["category"]] if cleaned.get("category") else [],
            "type": [cleaned["type"]] if cleaned.get("type") else [],
            "actor": actor_name_from_label(cleaned.get("actor", "")),
        }

    def _combine_images(self, cleaned: dict[str, Any]) -> Image:
        """Return the repository, tag and digest of the fields, of which each may contain several."""
        combined = Image(self.page_repository)
        for name in ("repository", "tag", "digest"):
            for part, value in cleaned.get(name, Image())._asdict().items():
                known = getattr(combined, part)
                if value and known and value != known:
                    self.add_error(name, _contradiction(part, known))
                elif value:
                    combined = combined._replace(**{part: value})
        return combined

    @property
    def excludes_pulls(self) -> bool:
        return self.cleaned_data.get("exclude_pull", True) and not self.asks_only_for_pulls

    @cached_property
    def asks_only_for_pulls(self) -> bool:
        """Whether the search and the filters ask for nothing but pulls, or what has the same type."""
        of_search = kinds_asked(self.search)
        asked = [] if of_search is None else [of_search]
        for name in ("category", "type"):
            if values := self.cleaned_data.get(name):
                asked.append({key for key, kind in KINDS.items() if getattr(kind, name) in values})
        kinds = set.intersection(*asked) if asked else set()
        return bool(kinds & PULLS) and all(KINDS[key].type == catalogue.Type.GET for key in kinds)

    @property
    def has_times(self) -> bool:
        return bool(self.data.get("after") or self.data.get("before"))

    def time_inputs(self) -> dict[str, dict[str, str]]:
        """Return the input elements for the start and the end of a custom range.

        Values that can't be read are kept, so that they can be corrected.
        """
        choice = self.choice()
        inputs = {}
        for name, moment in (("after", choice.after), ("before", choice.before)):
            type_, value = "datetime-local", ""
            if self.data.get(name) and name not in self.cleaned_data:
                type_, value = "text", self.data[name]
            elif choice.range == "custom" and moment:
                type_, value = input_of(moment)
            inputs[name] = {"label": str(self.fields[name].label), "type": type_, "value": value}
        return inputs

    def choice(self) -> Choice:
        """Return the choices in effect. If there are problems, the choice contains what could be read."""
        self.is_valid()
        chosen = self.cleaned_data
        range_, sort = chosen.get("range", "all"), chosen.get("sort", "-time")
        after, before = chosen.get("bounds", (None, None))
        if self.has_times:
            range_ = "custom"
        column, shortened = sort.lstrip("-"), False
        if column != "time":
            earliest = (before or timezone.now()) - LONGEST_SORT
            # Allow an hour of leeway, so that "Last 90 days" itself is not shortened.
            if after is None or after < earliest - timedelta(hours=1):
                shortened, after = True, earliest
                range_ = "custom" if before else "quarter"
        return Choice(
            range=range_,
            after=after,
            before=before,
            column=column,
            descending=sort.startswith("-"),
            exclude_pull=self.excludes_pulls,
            filters={name: chosen[name] for name in FILTERS if chosen.get(name)},
            search=self.search,
            shortened=shortened,
        )
