"""The settings of this application, one function each. Nothing else reads them."""

from django.conf import settings


def registry_host() -> str:
    """Return the host, with its port, that images are pulled from and pushed to, such as `registry.example.com`.

    From `REGISTRY_HOST`. Shown in the commands on a repository's page.
    """
    return settings.REGISTRY_HOST
