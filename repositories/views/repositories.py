"""The list of repositories, and the form to create one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.contrib import messages
from django.db import IntegrityError, transaction
from django.db.models import DateTimeField, QuerySet, Value
from django.db.models.functions import Coalesce
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.generic import FormView

from repositories import config, extensions
from repositories.access.levels import READ_PERMISSIONS, Category
from repositories.forms import MAX_SUGGESTIONS, NewRepositoryForm, RepositorySearchForm
from repositories.models import Repository
from repositories.tabs import tabs_for
from repositories.utils.keyset import BY_NAME, Key, Keyset
from repositories.views.lists import KeysetListView
from repositories.views.pages import ViewerMixin

NEVER = datetime(1970, 1, 1, tzinfo=UTC)
COLUMN_CATEGORIES = {"last_push": Category.PUSH, "last_pull": Category.PULL}
"""The category of events that a viewer must be allowed to see for each column."""


class RepositoriesMixin(ViewerMixin, KeysetListView):
    """A list of repositories, ordered by name."""

    keyset = BY_NAME

    def get_rows(self, rows: list[Repository]) -> list[dict[str, Any]]:
        """Return the template context of each repository.

        Templates show the details of a repository only if `can_read` is true.
        """
        found = [last_activity(self.access, rows) for last_activity in extensions.LAST_ACTIVITY]
        times = {pk: moment for each in found for pk, moment in each.items()}
        contexts = []
        for repository in rows:
            permissions = self.access.permissions_on(repository)
            contexts.append(
                {
                    "repository": repository,
                    "url": tabs_for(repository, permissions)[0][1],
                    "can_read": bool(permissions & READ_PERMISSIONS),
                    "last_activity": times.get(repository.pk),
                }
            )
        return contexts


class RepositoryListView(RepositoriesMixin):
    """The repositories that the viewer can see, searchable by part of the name.

    A list by the last push or pull contains only repositories of which the viewer may see pushes or pulls.
    """

    template_name = "registry_repositories/list.html"
    extra_context = {"registry_host": config.registry_host, "section": "repositories"}
    search_form = RepositorySearchForm

    @property
    def column(self) -> str:
        """The column that the list is about: `last_push`, `last_pull` or `name`."""
        chosen = self.search.values
        use = chosen["sort"].lstrip("-") or ("pull" if chosen["not_pulled_for"] else "")
        return f"last_{use}" if use else "name"

    @property
    def keyset(self) -> Keyset:  # type: ignore[override]
        if self.column == "name":
            return BY_NAME
        descending = self.search.values["sort"].startswith("-")
        return Keyset([Key("used_at", descending, time_of), Key("pk", type=int)])

    def get_queryset(self) -> QuerySet[Repository]:
        chosen, column = self.search.values, self.column
        needed = {COLUMN_CATEGORIES[name].permission for name in self.columns}
        repositories = self.access.repositories().select_related("namespace")
        for permission in needed:
            repositories = repositories.filter(
                pk__in=self.access.repositories([permission]).order_by().values("pk")
            )
        if column != "name":
            repositories = repositories.annotate(used_at=Coalesce(column, Value(NEVER, DateTimeField())))
        if days := chosen["not_pulled_for"]:
            repositories = repositories.not_pulled_for(days)
        if chosen["namespace"]:
            repositories = repositories.filter(namespace__name=chosen["namespace"])
        return repositories.filter(full_name__icontains=chosen["q"])

    @property
    def columns(self) -> set[str]:
        """The columns that the viewer must be allowed to see for the chosen order and filter."""
        filtered = {"last_pull"} if self.search.values["not_pulled_for"] else set()
        return {self.column, *filtered} - {"name"}

    def get_rows(self, rows: list[Repository]) -> list[dict[str, Any]]:
        used = {"last_push": _("Last push"), "last_pull": _("Last pull")}.get(self.column, "")
        return [
            {**row, "used": used, "used_at": getattr(row["repository"], self.column)}
            for row in super().get_rows(rows)
        ]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        limited = [] if self.access.sees_everything else self.columns
        limited_to = [COLUMN_CATEGORIES[name] for name in sorted(limited)]
        return super().get_context_data(**kwargs, limited_to=limited_to)


def time_of(text: str) -> datetime:
    """Parse the time in a cursor. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment.astimezone(UTC)


class NewRepositoryView(ViewerMixin, FormView):
    """The form to create a repository."""

    template_name = "registry_repositories/new.html"
    form_class = NewRepositoryForm

    def get_initial(self) -> dict[str, Any]:
        return {"namespace": self.request.GET.get("namespace", self.request.user.get_username())}

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "access": self.access}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        suggested = self.access.namespaces("edit").values_list("name", flat=True)[:MAX_SUGGESTIONS]
        return super().get_context_data(**kwargs, namespaces=suggested, section="repositories")

    def form_valid(self, form: NewRepositoryForm) -> HttpResponse:
        try:
            with transaction.atomic():
                repository = form.save()
        except IntegrityError:  # a push created the repository in the meantime
            form.add_error("name", _("This namespace already has a repository with that name."))
            return self.form_invalid(form)
        messages.success(self.request, _("%(full_name)s was created.") % {"full_name": repository.full_name})
        return redirect("registry_repositories:info", repository.namespace.name, repository.name)
