"""Pages for listing and editing a repository's policies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.views.generic import TemplateView
from django.views.generic.base import View

from repositories.access.resolving import Access
from repositories.models import Policy, Repository
from repositories.policies import changes
from repositories.policies.forms import SiteCriteriaFormSet, SitePolicyForm, can_push_to
from repositories.utils.keyset import Key, Keyset
from repositories.views.lists import KeysetListView
from repositories.views.pages import RepositoryPage

TABS = {
    "registry_repositories:promotions": [Policy.Kind.PROMOTION],
    "registry_repositories:mirrors": [Policy.Kind.PUSH_MIRRORING, Policy.Kind.PULL_MIRRORING],
    "registry_repositories:pruning": [Policy.Kind.PRUNING],
}
"""The kinds of policies that each tab lists, by the tab's URL name."""
TAB_BY_KIND = {kind.value: tab for tab, kinds in TABS.items() for kind in kinds}


def tab_url(repository: Repository, tab: str) -> str:
    """Return the URL of one of a repository's policy tabs."""
    return reverse(tab, args=[repository.namespace.name, repository.name])


def target_name(policy: Policy, access: Access) -> str:
    """Return the display name of a policy's target repository, or an empty string if the policy has none."""
    return visible_name(policy.target, access) if policy.target else ""


def visible_name(repository: Repository, access: Access) -> str:
    """Return the name of a repository, or a placeholder if the viewer can't see it."""
    return repository.full_name if access.permissions_on(repository) else _("a repository that you can't see")


class PolicyListView(RepositoryPage, KeysetListView):
    """The Promotions, Mirrors or Pruning tab of a repository."""

    tab = ""
    template_name = "registry_repositories/policies/list.html"
    keyset = Keyset([Key("pk", type=int)])

    def get_queryset(self) -> QuerySet[Policy]:
        policies = Policy.objects.filter(repository=self.repository, kind__in=TABS[self.tab])
        return policies.select_related("target__namespace").prefetch_related("criteria")

    def get_rows(self, rows: list[Policy]) -> list[tuple[Policy, str]]:
        return [(policy, target_name(policy, self.access)) for policy in rows]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs, kinds=TABS[self.tab])


class PolicyPage(RepositoryPage):
    """A page about a policy, on the tab for its kind. The view's URL must have a `policy_id` parameter."""

    @cached_property
    def policy(self) -> Policy:
        # Load the viewer's access rights first, so that a 404 takes the same number of queries whether or not
        # the policy exists.
        self.access  # noqa: B018
        policies = Policy.objects.select_related("repository__namespace", "target__namespace")
        return get_object_or_404(policies, public_id=self.kwargs["policy_id"])

    @cached_property
    def repository(self) -> Repository:
        return self.policy.repository

    @property
    def tab(self) -> str:  # type: ignore[override]
        return TAB_BY_KIND[self.policy.kind]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs, policy=self.policy)
        return {**context, "tabs": []} if self.repository.deleted_at else context


class PolicyEditorPage(RepositoryPage):
    """A page for viewers who can edit a repository's policies. Returns 404 if the repository is deleted."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.require("edit_policies")
        if self.repository.deleted_at:
            raise Http404
        return super().dispatch(request, *args, **kwargs)


class PolicyFormView(PolicyEditorPage, TemplateView):
    """A form for a policy and its criteria. Subclasses provide the policy."""

    template_name = "registry_repositories/policies/form.html"
    get_policy: Callable[[], Policy]
    """Returns a new or a stored policy. A stored policy is locked for POST requests."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self.render_forms(*self.forms(self.get_policy()))

    @transaction.atomic
    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        policy = self.get_policy()
        form, criteria = self.forms(policy, request.POST)
        valid = [form.is_valid(), criteria.is_valid()]
        if not all(valid):
            return self.render_forms(form, criteria)
        with changes.tracking_changes(policy):
            form.save()
            criteria.save()
        messages.success(request, _("Saved."))
        return redirect(policy)

    def forms(self, policy: Policy, data: Any = None) -> tuple[SitePolicyForm, Any]:
        form = SitePolicyForm(data, instance=policy, access=self.access)
        return form, SiteCriteriaFormSet(data, instance=policy, prefix="criteria")

    def render_forms(self, form: SitePolicyForm, criteria: Any) -> HttpResponse:
        policy = form.instance
        cancel = policy.get_absolute_url() if policy.pk else tab_url(self.repository, self.tab)
        return self.render_to_response(self.get_context_data(form=form, criteria=criteria, cancel=cancel))


class PolicyCreateView(PolicyFormView):
    """Creates a policy of the kind given in the URL."""

    @property
    def tab(self) -> str:  # type: ignore[override]
        return TAB_BY_KIND.get(self.kwargs["kind"], "")

    def get_policy(self) -> Policy:
        return Policy(repository=self.repository, kind=self.kwargs["kind"])


class PolicyEditView(PolicyPage, PolicyFormView):
    def get_policy(self) -> Policy:
        if self.request.method != "POST":
            return self.policy
        return get_object_or_404(Policy.objects.select_for_update(), pk=self.policy.pk)


class PolicySwitchView(PolicyPage, PolicyEditorPage, View):
    """Enables or disables a policy."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        choices = {"true": True, "false": False}
        if (choice := request.POST.get("enabled", "")) not in choices:
            messages.error(request, _("Choose whether to enable or disable the policy. Nothing was changed."))
            return redirect(self.policy)
        enabled, target = choices[choice], self.policy.target
        if enabled and target and not can_push_to(self.access, target):
            messages.error(
                request, _("You can't push to the target repository, so you can't enable this policy.")
            )
            return redirect(self.policy)
        with changes.tracking_changes(self.policy):
            Policy.objects.filter(pk=self.policy.pk).update(enabled=enabled)
        text = _("%(policy)s was enabled.") if enabled else _("%(policy)s was disabled.")
        messages.success(request, text % {"policy": self.policy})
        return redirect(self.policy)


class PolicyDeleteView(PolicyPage, PolicyEditorPage, TemplateView):
    template_name = "registry_repositories/policies/delete.html"

    @transaction.atomic
    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        policy = get_object_or_404(Policy.objects.select_for_update(), pk=self.policy.pk)
        changes.delete(policy)
        messages.success(
            request, _("%(policy)s was deleted. Its events were kept.") % {"policy": self.policy}
        )
        return redirect(tab_url(self.repository, self.tab))
