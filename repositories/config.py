"""The settings of this app, with one function per setting."""

from django.conf import settings


def registry_host() -> str:
    """Return the setting `REGISTRY_HOST`: the registry's host and port, for example `registry.example.com`.

    The pages show it in the commands to pull and push images.
    """
    return settings.REGISTRY_HOST
