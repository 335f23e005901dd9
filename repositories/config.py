"""The keys of the `REGISTRY_ACTIVITY` setting that this app reads, with one function for each key.

`REGISTRY_ACTIVITY` is a dictionary. All its keys are optional, and so is the setting itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, get_type_hints

from django.conf import settings
from django.utils.module_loading import import_string

Value = TypeVar("Value")

KEYS: dict[str, Any] = {}
"""The known keys and their defaults."""
TYPES: dict[str, Any] = {}
"""The types of the values, by key."""


def key(function: Callable[..., Value]) -> Callable[[], Value]:
    """Make a function return the value of the key that is named like it, in capitals.

    The function's only parameter is the value in `REGISTRY_ACTIVITY`, and its default is the key's default.
    """
    name = function.__name__.upper()

    @wraps(function)
    def read() -> Value:
        values = getattr(settings, "REGISTRY_ACTIVITY", {})
        return function(values[name]) if name in values else function()

    (KEYS[name],) = function.__defaults__ or ()
    TYPES[name], _ = get_type_hints(function).values()
    return read


@key
def registry_host(host: str = "localhost:5000") -> str:
    """Return the registry's host and optional port. Pages show it in commands such as `docker pull`."""
    return host


@key
def namespace_of_user(path: str = "repositories.access.people.username") -> Callable[[Any], str]:
    """Return the function that returns the name of a user's own namespace.

    The value is the path of the function. If what it returns isn't valid as a namespace, such as an e-mail
    address, the user gets none.
    """
    return import_string(path)


@key
def reads_per_minute(limit: int | None = 3_000) -> int | None:
    """Return how many requests a minute an access token may send that read. None stands for no limit.

    They are counted in the default cache. Requests that record events aren't limited.
    """
    return limit
