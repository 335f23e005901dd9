"""The settings of this app, with one function per setting."""

from django.conf import settings


def registry_host() -> str:
    """Return the `REGISTRY_HOST` setting: the registry's host and optional port, e.g. `localhost:5000`.

    Pages show it in the commands for pulling and pushing images.
    """
    return settings.REGISTRY_HOST
