"""The settings of this application, one function each. Nothing else reads them."""

from django.conf import settings
from django.core.files.storage import Storage, storages

ARCHIVES = "archives"


def public_url() -> str:
    """Return the address under which people and registries reach this site, without a trailing slash.

    From `PUBLIC_URL`. Printed in the registry's configuration by `registry_config`.
    """
    return settings.PUBLIC_URL


def archive_storage() -> Storage:
    """Return the storage that events are archived to before they are deleted.

    From the alias `archives` of `STORAGES`. A backend of django-storages will do.
    """
    return storages[ARCHIVES]
