"""What other apps add to this one, which imports none of them. They do so in `AppConfig.ready`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db.models import Q
from django.urls import reverse

if TYPE_CHECKING:
    from repositories.access.resolving import Access
    from repositories.models import Repository

URL_NAMES: dict[str, str] = {}
"""The URL names of the `user` and `policy` pages."""

LAST_ACTIVITY: set[Callable[[Access, Collection[Repository]], Mapping[int, datetime]]] = set()
"""Functions that return the time of the last event that a viewer can see in each repository, by its id."""

REASONS_TO_KEEP: set[Callable[[Collection[Any]], Iterable[str]]] = set()
"""Functions that yield why some users must not be deleted together."""

MANAGED = Q(content_type__app_label="registry_repositories")
"""The permissions that MSR admins get in the admin. Auditors get those of them that only permit to view.

A site whose admin prevents staff from giving more permissions than they have can add users here.
"""


def page_url(page: str, name: str) -> str:
    """Return the URL of a user's or a policy's page. `page` is `user` or `policy`."""
    return reverse(URL_NAMES[page], args=[name])
