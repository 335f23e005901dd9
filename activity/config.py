"""The settings of this app, with one function per setting."""

from django.conf import settings
from django.core.files.storage import Storage, storages

ARCHIVES = "archives"


def public_url() -> str:
    """Return the URL of this site for people and registries, without a trailing slash.

    It is the setting `PUBLIC_URL`. The command `registry_config` prints it in the registry's configuration.
    """
    return settings.PUBLIC_URL


def archive_storage() -> Storage:
    """Return the storage where events are archived before they are deleted.

    It is the storage `archives` in `STORAGES`. Any Django storage works, for example one of django-storages.
    """
    return storages[ARCHIVES]
