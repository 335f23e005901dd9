"""The list of repositories, and the form to create one."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.functional import cached_property
from django.views.generic import FormView, TemplateView

from repositories import config, last_activity, signals
from repositories.access.levels import READ_PERMISSIONS
from repositories.access.resolving import Access
from repositories.forms import MAX_SUGGESTIONS, NewRepositoryForm
from repositories.models import Repository
from repositories.tabs import tabs_for
from repositories.utils.keyset import BY_NAME

PAGE_SIZE = 50


def repository_rows(access: Access, repositories: list[Repository]) -> list[dict[str, Any]]:
    """Return template rows for a list of repositories, with only the name where the viewer can't read."""
    times = last_activity.by_repository(access, repositories)
    rows = []
    for repository in repositories:
        permissions = access.permissions_on(repository)
        rows.append(
            {
                "repository": repository,
                "url": tabs_for(repository, permissions)[0][1],
                "can_read": bool(permissions & READ_PERMISSIONS),
                "last_activity": times.get(repository.pk),
            }
        )
    return rows


class RepositoryListView(TemplateView):
    """The repositories that the viewer can see, ordered by name, with a search by part of the name."""

    template_name = "repositories/list.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        access = Access.for_user(self.request.user)
        search, namespace = (
            self.request.GET.get(key, "").strip().replace("\0", "") for key in ("q", "namespace")
        )
        repositories = access.repositories().with_names()
        if namespace:
            repositories = repositories.filter(namespace__name=namespace)
        for part in search.split("/"):
            repositories = repositories.filter(Q(namespace_name__icontains=part) | Q(name__icontains=part))
        page = BY_NAME.page_or_first(repositories, PAGE_SIZE, self.request.GET.get("cursor"))
        return super().get_context_data(
            **kwargs,
            page=page,
            rows=repository_rows(access, page.rows),
            search=search,
            namespace=namespace,
            query=self.request.GET,
            registry_host=config.registry_host(),
            section="repositories",
        )


class NewRepositoryView(FormView):
    """The form to create a repository."""

    template_name = "repositories/new.html"
    form_class = NewRepositoryForm

    @cached_property
    def access(self) -> Access:
        return Access.for_user(self.request.user)

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
                signals.repository_created.send(Repository, repository=repository)
        except IntegrityError:  # a push created it in the meantime
            form.add_error("name", "This namespace already has a repository with that name.")
            return self.form_invalid(form)
        messages.success(self.request, f"{repository.full_name} was created.")
        return redirect("registry_repositories:info", repository.namespace.name, repository.name)


def home(request: HttpRequest) -> HttpResponse:
    """Redirect to the list of repositories."""
    return redirect("registry_repositories:list")
