"""The settings of this application, one function each. No other module reads them."""

from django.conf import settings


def registry_host() -> str:
    """Return the host (and port) that images are pulled from and pushed to, e.g. `registry.example.com`.

    It comes from `REGISTRY_HOST`, and is shown in the commands on a repository's page.
    """
    return settings.REGISTRY_HOST
