"""The list of repositories, and the form to create one."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.generic import FormView

from repositories import config, last_activity
from repositories.access.levels import READ_PERMISSIONS
from repositories.forms import MAX_SUGGESTIONS, NewRepositoryForm, RepositorySearchForm
from repositories.models import Repository
from repositories.tabs import tabs_for
from repositories.utils.keyset import BY_NAME
from repositories.views.lists import KeysetListView
from repositories.views.pages import ViewerMixin


class RepositoriesMixin(ViewerMixin, KeysetListView):
    """A list of repositories, ordered by name."""

    keyset = BY_NAME

    def get_rows(self, rows: list[Repository]) -> list[dict[str, Any]]:
        """Return the template context of each repository.

        Templates show the details of a repository only if `can_read` is true.
        """
        times = last_activity.by_repository(self.access, rows)
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
    """The repositories that the viewer can see, searchable by part of the name."""

    template_name = "registry_repositories/list.html"
    extra_context = {"registry_host": config.registry_host, "section": "repositories"}
    search_form = RepositorySearchForm

    def get_queryset(self) -> QuerySet[Repository]:
        repositories = self.access.repositories().with_names()
        if self.search.values["namespace"]:
            repositories = repositories.filter(namespace__name=self.search.values["namespace"])
        return repositories.filter(full_name__icontains=self.search.values["q"])


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
            form.add_error("name", "This namespace already has a repository with that name.")
            return self.form_invalid(form)
        messages.success(self.request, f"{repository.full_name} was created.")
        return redirect("registry_repositories:info", repository.namespace.name, repository.name)
