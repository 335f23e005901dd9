"""The settings of this app, with one function per setting."""

from django.conf import settings


def registry_host() -> str:
    """Return the `REGISTRY_HOST` setting: the registry's host and optional port, e.g. `localhost:5000`.

    The pages use it in the commands that pull and push images.
    """
    return settings.REGISTRY_HOST
