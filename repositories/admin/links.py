"""URLs of admin pages, and links to them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Model
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html_join


def change_url(row: Model) -> str:
    """Return the URL of a row's change page, or "" if the site's admin has none, for example for users."""
    try:
        return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    except NoReverseMatch:
        return ""


def changelist_url(model: type[Model]) -> str:
    """Return the URL of a model's list, or "" if the site's admin has none."""
    try:
        return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    except NoReverseMatch:
        return ""


def model_url(model: type[Model], page: str, query: str) -> str:
    """Return the URL of a model's `changelist` or `add` page, with a query string."""
    return f"{reverse(f'admin:{model._meta.app_label}_{model._meta.model_name}_{page}')}?{query}"


def grant_url(grant: Any) -> str:
    """Return the URL of guardian's page for a grant's holder and object."""
    holder = "user" if hasattr(grant, "user_id") else "group"
    place = grant._meta.get_field("content_object").related_model._meta
    name = f"admin:{place.app_label}_{place.model_name}_permissions_manage_{holder}"
    return reverse(name, args=[grant.content_object_id, getattr(grant, f"{holder}_id")])


def join_links(links: Iterable[tuple[str, Any]]) -> str:
    """Return HTML links for (URL, text) pairs, separated by dots, or a dash if there are no links."""
    return format_html_join(" · ", '<a href="{}">{}</a>', links) or "–"
