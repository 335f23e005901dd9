"""The Info and Settings tabs of a repository."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.generic import TemplateView

from repositories.dependents import dependents_of
from repositories.forms import DeletionForm, RepositoryForm
from repositories.views.pages import RepositoryPage


class InfoView(RepositoryPage, TemplateView):
    """The description of a repository, and the commands to pull from it and push to it."""

    tab = "registry_repositories:info"
    template_name = "registry_repositories/info.html"


class SettingsView(RepositoryPage, TemplateView):
    """Forms to change and delete a repository. The name of the submit button identifies the form."""

    tab = "registry_repositories:repository_settings"
    template_name = "registry_repositories/repository_settings.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs)
        context.setdefault("form", RepositoryForm(instance=self.repository))
        context.setdefault("deletion", DeletionForm(expected=self.repository.full_name))
        context["dependents"] = dependents_of(self.repository).in_words()
        return context

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        return self.delete_repository() if "delete" in request.POST else self.change()

    @transaction.atomic
    def change(self) -> HttpResponse:
        self.require("edit")
        form = RepositoryForm(self.request.POST, instance=self.repository)
        if not form.is_valid():
            return self.render_to_response(self.get_context_data(form=form))
        form.save()
        messages.success(self.request, _("Saved."))
        return redirect(self.request.path)

    def delete_repository(self) -> HttpResponse:
        self.require("delete")
        deletion = DeletionForm(self.request.POST, expected=self.repository.full_name)
        if not deletion.is_valid():
            return self.render_to_response(self.get_context_data(deletion=deletion))
        self.repository.delete()
        messages.success(
            self.request, _("%(full_name)s was deleted.") % {"full_name": self.repository.full_name}
        )
        return redirect("registry_repositories:list")
