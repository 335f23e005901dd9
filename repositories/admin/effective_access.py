"""Pages of the admin that say who may do what, and why: of a repository, and of a user."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from guardian.models import BaseObjectPermission

from repositories.access.explaining import EffectiveAccess, Right, public_right, rights_of, rights_on
from repositories.access.resolving import grants_count_in
from repositories.admin.links import change_url, grant_url
from repositories.models import Membership, Repository
from repositories.utils.keyset import Page


def of_repository(model_admin: admin.ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Show the people of a repository: their levels, where these come from, and what they see."""
    _only_for_overseers(request)
    repositories = Repository.objects.select_related("namespace__user", "namespace__organization")
    repository = get_object_or_404(repositories, pk=pk)
    search = request.GET.get("q", "").strip().replace("\0", "")
    page = rights_on(repository, request.GET.get("cursor"), search)
    context = {
        "repository": repository,
        "grants_count": grants_count_in(repository),
        "public": public_right(repository),
        "search": search,
        "pages": _pages(request, "cursor", page),
        "rows": [_row(request, access) for access in page.rows],
    }
    return _answer(model_admin, request, "repository", repository, context)


def of_user(model_admin: admin.ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Show what a user may do: everywhere, in namespaces, and in repositories."""
    _only_for_overseers(request)
    user: Any = get_object_or_404(get_user_model(), pk=pk)
    access = rights_of(user, request.GET.get("namespaces"), request.GET.get("repositories"))
    context = {
        "person": user,
        "everywhere": [_reason(request, right) for right in access.everywhere],
        "places": [
            (name, [_row(request, row) for row in page.rows], _pages(request, name, page))
            for name, page in (("namespaces", access.namespaces), ("repositories", access.repositories))
        ],
    }
    return _answer(model_admin, request, "user", user, context)


def _only_for_overseers(request: HttpRequest) -> None:
    """Admit MSR admins and auditors: others must not learn the names of repositories."""
    if not request.user.has_perm("registry_repositories.audit_registry"):
        raise PermissionDenied


def _answer(
    model_admin: admin.ModelAdmin, request: HttpRequest, of: str, about: Any, context: dict[str, Any]
) -> HttpResponse:
    request.current_app = model_admin.admin_site.name
    shared = {"title": "Effective access", "opts": model_admin.opts, "original": about}
    context = {**model_admin.admin_site.each_context(request), **shared, **context}
    return TemplateResponse(request, f"admin/registry_repositories/access_of_{of}.html", context)


def _pages(request: HttpRequest, name: str, page: Page) -> list[tuple[str, str]]:
    """Return the neighbouring pages' names and addresses."""
    cursors = [("Previous", page.previous), ("Next", page.next)]
    query = request.GET.copy()
    links = []
    for label, cursor in cursors:
        if cursor:
            query[name] = cursor
            links.append((label, f"?{query.urlencode()}"))
    return links


def _row(request: HttpRequest, access: EffectiveAccess) -> dict[str, Any]:
    """Return what the pages show of somebody in a place."""
    is_repository = isinstance(access.place, Repository)
    return {
        "holder": access.holder,
        "holder_url": reverse("admin:auth_user_access", args=[access.holder.pk]),
        "place": access.place,
        "place_url": access_url(access.place) if is_repository else change_url(access.place),
        "level": access.level.label if access.level else "",
        "reasons": [_reason(request, right) for right in access.rights],
        "categories": [category.label for category in access.categories],
    }


def access_url(repository: Any) -> str:
    return reverse("admin:registry_repositories_repository_access", args=[repository.pk])


def _reason(request: HttpRequest, right: Right) -> tuple[str, str, str]:
    """Return what was given, by what, and the page where that is seen, or taken away."""
    return right.label, right.reason, _source_url(request, right)


def _source_url(request: HttpRequest, right: Right) -> str:
    if isinstance(right.source, BaseObjectPermission):
        if request.user.has_perm("registry_repositories.change_repository"):
            return grant_url(right.source)
        return change_url(right.place) if right.place else ""
    if isinstance(right.source, Membership):
        return change_url(right.source.organization)
    return change_url(right.source) if right.source else ""
