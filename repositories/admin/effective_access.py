"""Admin pages that show who has access to a repository, what a user has access to, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from guardian.models import BaseObjectPermission

from repositories.access.delegation import can_manage
from repositories.access.effective_access import Right, public_right, rights_of, rights_on
from repositories.access.resolving import grants_apply_to
from repositories.accounts.security import AccountSecurity, end_access, unlock
from repositories.admin.links import change_url, changelist_url, grant_url
from repositories.forms import SearchForm
from repositories.models import Membership, Repository
from repositories.utils.keyset import Page
from repositories.utils.parameters import problems_of


def access_page(
    model_admin: admin.ModelAdmin, view: Callable[..., HttpResponse], route: str, name: str
) -> URLPattern:
    """Return the URL pattern of effective access pages. Only MSR admins and auditors can see them.

    The pages contain the names of repositories that other users may not be able to see.
    """
    require_permission = permission_required("registry_repositories.audit_registry", raise_exception=True)
    protected = model_admin.admin_site.admin_view(require_permission(partial(view, model_admin)))
    return path(route, protected, name=name)


def repository_access_view(model_admin: admin.ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Show who has access to a repository, at which level and why, and which events they can see."""
    repositories = Repository.objects.select_related("namespace__user", "namespace__organization")
    repository = get_object_or_404(repositories, pk=pk)
    form = SearchForm(request.GET)
    search, problems = form.values["q"], problems_of(request.GET, form, {"cursor"})
    page = Page([], None, None) if problems else rights_on(repository, request.GET.get("cursor"), search)
    _show_messages(request, problems, page)
    context = {
        "repository": repository,
        "grants_apply": grants_apply_to(repository),
        "public": public_right(repository),
        "search": search,
        "page": page,
        "rows": [(access, _reasons(request, access.rights)) for access in page.rows],
    }
    status = 400 if problems else 200
    return _render(model_admin, request, "repository", repository, context, status)


def user_access_view(model_admin: admin.ModelAdmin, request: HttpRequest, user_id: str) -> HttpResponse:
    """Show all that concerns a user's access: grants, memberships, tokens, sessions, and wrong passwords.

    MSR admins can end the tokens and sessions here, and let the user log in again.
    """
    try:
        user: Any = get_object_or_404(get_user_model(), pk=user_id)
    except (ValueError, OverflowError, ValidationError) as error:  # not a key of this user model
        raise Http404 from error
    if request.method == "POST":
        return _change_account(request, user)
    access = rights_of(user, request.GET.get("namespaces"), request.GET.get("repositories"))
    for page in (access.namespaces, access.repositories):
        _show_messages(request, [], page)
    context = {
        "person": user,
        "account": AccountSecurity(user),
        "may_change": _may_change(request, user),
        "everywhere": _reasons(request, access.everywhere),
        "places": [
            (name, [(row, _reasons(request, row.rights)) for row in page.rows], page)
            for name, page in (("namespaces", access.namespaces), ("repositories", access.repositories))
        ],
    }
    return _render(model_admin, request, "user", user, context)


def _may_change(request: HttpRequest, user: Any) -> bool:
    """Return whether the viewer may end the tokens and sessions of a user."""
    return request.user.has_perm("registry_repositories.administer_registry") and can_manage(
        request.user, user
    )


@transaction.atomic
def _change_account(request: HttpRequest, user: Any) -> HttpResponse:
    if not _may_change(request, user):
        raise PermissionDenied
    if "end" in request.POST:
        tokens, sessions = end_access(user)
        messages.success(
            request,
            _("Access tokens that were revoked: %(tokens)s. Sessions ended: %(sessions)s.")
            % {"tokens": tokens, "sessions": sessions},
        )
    elif "unlock" in request.POST:
        unlock(user)
        messages.success(request, _("%(user)s can log in again.") % {"user": user})
    else:
        raise Http404
    return redirect(request.path)


def _show_messages(request: HttpRequest, problems: list[str], page: Page) -> None:
    """Show what can't be understood of a request."""
    for problem in problems:
        messages.error(request, _("Nothing is shown. %(problem)s") % {"problem": problem})
    if page.is_first_instead:
        messages.warning(request, _("That page is not available, so the first page is shown instead."))


def _render(
    model_admin: admin.ModelAdmin,
    request: HttpRequest,
    kind: str,
    original: Any,
    context: dict[str, Any],
    status: int = 200,
) -> HttpResponse:
    request.current_app = model_admin.admin_site.name
    shared = {
        "title": _("Effective access"),
        "opts": original._meta,
        "original": original,
        "list_url": changelist_url(type(original)),
        "change_url": change_url(original),
    }
    context = {**model_admin.admin_site.each_context(request), **shared, **context}
    template = f"admin/registry_repositories/access_of_{kind}.html"
    return TemplateResponse(request, template, context, status=status)


def _reasons(request: HttpRequest, rights: Iterable[Right]) -> list[tuple[str, str, str]]:
    """Return each right's label, its source in words, and the URL where the source can be changed."""
    return [(right.label, right.reason, _source_url(request, right)) for right in rights]


def _source_url(request: HttpRequest, right: Right) -> str:
    page = right.source
    if isinstance(page, BaseObjectPermission):
        if request.user.has_perm("registry_repositories.change_repository"):
            return grant_url(page)
        page = right.place
    elif isinstance(page, Membership):
        page = page.organization
    return change_url(page) if page else ""
