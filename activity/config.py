"""The settings of this app, with one function per setting."""

from datetime import timedelta

from django.conf import settings
from django.core.files.storage import Storage, storages

ARCHIVES = "archives"


def public_url() -> str:
    """Return the `PUBLIC_URL` setting: the URL at which users and registries reach this site.

    The URL must not end with a slash. The `registry_config` command prints it as part of the registry's
    configuration.
    """
    return settings.PUBLIC_URL


def archive_storage() -> Storage:
    """Return the storage where events are archived before they are deleted.

    It is the `archives` storage in the `STORAGES` setting. Any Django storage backend works, such as one from
    django-storages.
    """
    return storages[ARCHIVES]


def deletion_delay() -> timedelta:
    """Return how long a change waits if it makes auto-deletion delete more events.

    Controlled by the `DELETION_DELAY` setting, which defaults to 24 hours. With a delay of zero, all changes
    take effect at once.
    """
    return getattr(settings, "DELETION_DELAY", timedelta(hours=24))


def audits_host_models() -> bool:
    """Return whether to record logins, logouts, and changes to the host site's own models.

    Controlled by the `AUDIT_HOST_MODELS` setting, which defaults to True. The host site's models are users,
    groups (including their permissions and members), and Celery beat schedules. Changes to this application's
    own models, including team memberships, are always recorded.
    """
    return getattr(settings, "AUDIT_HOST_MODELS", True)
