"""The settings of this app, with one function per setting."""

from django.conf import settings
from django.core.files.storage import Storage, storages

ARCHIVES = "archives"


def public_url() -> str:
    """Return the setting `PUBLIC_URL`: the URL at which users and registries reach this site.

    It must not end with a slash. The command `registry_config` prints it in the registry's configuration.
    """
    return settings.PUBLIC_URL


def archive_storage() -> Storage:
    """Return the storage where events are archived before they are deleted.

    It is the storage `archives` in `STORAGES`. Any Django storage works, for example one of django-storages.
    """
    return storages[ARCHIVES]


def audits_host_models() -> bool:
    """Return whether to record changes to the host site's own models, and logins. The default is True.

    It is the setting `AUDIT_HOST_MODELS`. The host's models are users, groups, their permissions and members,
    and the schedules of Celery beat. Changes to the project's own models, including the members of teams, are
    always recorded.
    """
    return getattr(settings, "AUDIT_HOST_MODELS", True)
