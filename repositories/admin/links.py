"""Addresses of the admin's pages, and links to them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Model
from django.urls import reverse
from django.utils.html import format_html_join


def change_url(row: Model) -> str:
    """Return the page of one row."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def list_url(model: type[Model], query: str = "") -> str:
    """Return the list of a model, narrowed by a query string."""
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return f"{address}?{query}" if query else address


def add_url(model: type[Model], query: str) -> str:
    """Return the page on which a row is made, with what the query string fills in."""
    return f"{reverse(f'admin:{model._meta.app_label}_{model._meta.model_name}_add')}?{query}"


def grant_url(grant: Any) -> str:
    """Return guardian's page of what the holder of a grant was granted on the same place."""
    holder = "user" if hasattr(grant, "user_id") else "group"
    place = grant._meta.get_field("content_object").related_model._meta
    name = f"admin:{place.app_label}_{place.model_name}_permissions_manage_{holder}"
    return reverse(name, args=[grant.content_object_id, getattr(grant, f"{holder}_id")])


def joined(links: Iterable[tuple[str, Any]]) -> str:
    """Return links, given by address and text, one after the other."""
    return format_html_join(" · ", '<a href="{}">{}</a>', links) or "–"
