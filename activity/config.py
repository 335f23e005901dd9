"""The keys of the `REGISTRY_ACTIVITY` setting that this app reads, with one function for each key."""

from datetime import timedelta

from django.core.files.storage import Storage, storages

from repositories.config import key

ARCHIVES = "archives"


@key
def public_url(url: str = "http://localhost:8000") -> str:
    """Return the URL at which users and registries reach the site, without a slash at the end.

    The `registry_config` command prints it as part of the registry's configuration.
    """
    return url.rstrip("/")


@key
def archive_storage(alias: str = ARCHIVES) -> Storage:
    """Return the storage where events are archived before they are deleted.

    The value is the name of a storage in Django's `STORAGES` setting. Any storage backend works, such as one
    from django-storages.
    """
    return storages[alias]


@key
def deletion_delay(delay: timedelta = timedelta(hours=24)) -> timedelta:
    """Return how long a change waits if it makes auto-deletion delete more events.

    With a delay of zero, all changes take effect at once.
    """
    return delay


@key
def message_retention(retention: timedelta = timedelta(days=90)) -> timedelta:
    """Return how long the messages of registries are kept. With zero, they aren't stored at all."""
    return retention


@key
def append_only(protected: bool = True) -> bool:
    """Return whether the database rejects changes to events.

    Tests that empty the database, such as those of Django's `TransactionTestCase`, need the value False. It
    has to be set before their database is created.
    """
    return protected


@key
def audit_host_models(audited: bool = True) -> bool:
    """Return whether to record logins, logouts, and changes to the host site's own models.

    The host site's models are users, groups (including their permissions and members), and Celery beat
    schedules. Changes to this application's own models, including team memberships, are always recorded.
    """
    return audited


@key
def record_in_request(recorded: bool = True) -> bool:
    """Return whether requests record what they have received.

    Otherwise, a recorder (`manage.py record_journal`) must run, which records several times as many events a
    second.
    """
    return recorded
