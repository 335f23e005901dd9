"""The settings of this app, with one function per setting."""

from django.conf import settings
from django.core.files.storage import Storage, storages

ARCHIVES = "archives"


def public_url() -> str:
    """Return the setting `PUBLIC_URL`: the URL at which users and registries reach this site.

    The URL must not end with a slash. The command `registry_config` prints it as part of the configuration
    of the registry.
    """
    return settings.PUBLIC_URL


def archive_storage() -> Storage:
    """Return the storage where events are archived before they are deleted.

    The setting `STORAGES` must contain this storage under the name `archives`. Any Django storage works, for
    example a storage from django-storages.
    """
    return storages[ARCHIVES]


def audits_host_models() -> bool:
    """Return whether to record logins, logouts, and changes to the host site's own models.

    The setting is called `AUDIT_HOST_MODELS`, and its default is True. The host site's models are users,
    groups with their permissions and members, and the schedules of Celery beat. Changes to the project's own
    models, including the members of teams, are always recorded.
    """
    return getattr(settings, "AUDIT_HOST_MODELS", True)
