"""Pages on which the policies of a repository are listed and edited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.views.generic import TemplateView
from django.views.generic.base import View

from repositories.access.resolving import Access
from repositories.models import Policy, Repository
from repositories.policies import changes
from repositories.policies.forms import SiteCriteriaFormSet, SitePolicyForm, may_push
from repositories.utils.keyset import Key, Keyset
from repositories.views.pages import RepositoryPage

PAGE_SIZE = 50
OLDEST_FIRST = Keyset([Key("pk", type=int)])

TABS = {
    "Promotions": [Policy.Kind.PROMOTION],
    "Mirrors": [Policy.Kind.PUSH_MIRRORING, Policy.Kind.PULL_MIRRORING],
    "Pruning": [Policy.Kind.PRUNING],
}
TAB_OF = {kind.value: tab for tab, kinds in TABS.items() for kind in kinds}
EXPLANATIONS = {
    "Promotions": "A promotion policy copies each new tag that meets its criteria to another repository of"
    " this registry.",
    "Mirrors": "A push mirroring policy copies each new tag that meets its criteria to another registry. A"
    " pull mirroring policy copies a repository of another registry here, again and again.",
    "Pruning": "A pruning policy deletes the tags that meet its criteria.",
}


def url_of_tab(repository: Repository, tab: str) -> str:
    return reverse(f"registry_repositories:{tab.lower()}", args=[repository.namespace.name, repository.name])


def target_of(policy: Policy, access: Access) -> str:
    """Return the name of the repository that a policy promotes to, for those who may know it."""
    return known_name(policy.target, access) if policy.target else ""


def known_name(repository: Repository, access: Access) -> str:
    """Return the name of a repository to those who can see it."""
    return repository.full_name if access.permissions_on(repository) else "a repository that you can't see"


class PolicyListView(RepositoryPage, TemplateView):
    """The Promotions, Mirrors or Pruning tab of a repository."""

    tab = ""
    template_name = "repositories/policies/list.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        policies = (
            Policy.objects.filter(repository=self.repository, kind__in=TABS[self.tab])
            .select_related("target__namespace")
            .prefetch_related("criteria")
        )
        page = OLDEST_FIRST.page_or_first(policies, PAGE_SIZE, self.request.GET.get("cursor"))
        return super().get_context_data(
            **kwargs,
            page=page,
            query=self.request.GET,
            rows=[(policy, target_of(policy, self.access)) for policy in page.rows],
            kinds=TABS[self.tab],
            explanation=EXPLANATIONS[self.tab],
        )


class PolicyPage(RepositoryPage):
    """A page about one policy, at the tab of its kind. Its address has `policy_id`."""

    @cached_property
    def policy(self) -> Policy:
        self.access  # noqa: B018 - resolved first, so that 404 takes as many queries whether it is there or not
        policies = Policy.objects.select_related("repository__namespace", "target__namespace")
        return get_object_or_404(policies, public_id=self.kwargs["policy_id"].replace("\0", ""))

    @cached_property
    def repository(self) -> Repository:
        return self.policy.repository

    @property
    def tab(self) -> str:  # type: ignore[override]
        return TAB_OF[self.policy.kind]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs, policy=self.policy)
        return {**context, "tabs": []} if self.repository.deleted_at else context


class ForEditors(RepositoryPage):
    """Lets in only those who may edit the policies of a repository that is still there."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.require("edit_policies")
        if self.repository.deleted_at:
            raise Http404
        return super().dispatch(request, *args, **kwargs)


class PolicyFormView(ForEditors, TemplateView):
    """A form for a policy and its criteria. Subclasses say which policy."""

    template_name = "repositories/policies/form.html"
    stored_or_new: Callable[[], Policy]
    """Returns the policy, read within the transaction."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self.show(*self.forms(self.stored_or_new()))

    @transaction.atomic
    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        policy = self.stored_or_new()
        form, criteria = self.forms(policy, request.POST)
        valid = [form.is_valid(), criteria.is_valid()]
        if not all(valid):
            return self.show(form, criteria)
        with changes.told(policy):
            form.save()
            criteria.save()
        messages.success(request, "Saved.")
        return redirect(policy)

    def forms(self, policy: Policy, data: Any = None) -> tuple[SitePolicyForm, Any]:
        form = SitePolicyForm(data, instance=policy, access=self.access)
        return form, SiteCriteriaFormSet(data, instance=policy, prefix="criteria")

    def show(self, form: SitePolicyForm, criteria: Any) -> HttpResponse:
        return self.render_to_response(self.get_context_data(form=form, criteria=criteria))


class PolicyCreateView(PolicyFormView):
    """Makes a policy of the kind that its address says."""

    @property
    def tab(self) -> str:  # type: ignore[override]
        return TAB_OF.get(self.kwargs["kind"], "")

    def stored_or_new(self) -> Policy:
        return Policy(repository=self.repository, kind=self.kwargs["kind"])

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        kind = Policy.Kind(self.kwargs["kind"])
        return super().get_context_data(
            **kwargs,
            heading=f"New {kind.label.lower()} policy",
            kind=kind,
            cancel=url_of_tab(self.repository, self.tab),
        )


class PolicyEditView(PolicyPage, PolicyFormView):
    def stored_or_new(self) -> Policy:
        if self.request.method != "POST":
            return self.policy
        return get_object_or_404(Policy.objects.select_for_update(), pk=self.policy.pk)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        kind = Policy.Kind(self.policy.kind)
        heading = f"Edit {kind.label.lower()} policy {self.policy.public_id}"
        return super().get_context_data(
            **kwargs, heading=heading, kind=kind, cancel=self.policy.get_absolute_url()
        )


class PolicySwitchView(PolicyPage, ForEditors, View):
    """Switches a policy on or off."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        enabled = request.POST.get("enabled") == "true"
        target = self.policy.target
        if enabled and self.policy.kind == Policy.Kind.PROMOTION and not may_push(self.access, target):
            messages.error(request, "You can't push to its target repository, so you can't switch it on.")
            return redirect(self.policy)
        with changes.told(self.policy):
            Policy.objects.filter(pk=self.policy.pk).update(enabled=enabled)
        messages.success(request, "Switched on." if enabled else "Switched off.")
        return redirect(self.policy)


class PolicyDeleteView(PolicyPage, ForEditors, TemplateView):
    template_name = "repositories/policies/delete.html"

    @transaction.atomic
    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        policy = get_object_or_404(Policy.objects.select_for_update(), pk=self.policy.pk)
        changes.delete(policy)
        messages.success(request, f"{self.policy} was deleted. Its events stay.")
        return redirect(url_of_tab(self.repository, self.tab))
