from typing import Any

from django.apps import AppConfig
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate


class ActivityConfig(AppConfig):
    name = "activity"
    label = "registry_activity"
    verbose_name = "Activity"

    def ready(self) -> None:
        from activity import checks  # noqa: F401
        from activity.feed.last_activity import last_activity as newest_visible_event
        from activity.sources import auditing
        from activity.storage import append_only
        from repositories import last_activity, tabs
        from repositories.access import levels

        permissions = {
            levels.VIEW_UNKNOWN_EVENTS,
            *(category.permission for category in levels.REPOSITORY_CATEGORIES),
        }
        auditing.connect()
        last_activity.register(newest_visible_event)
        tabs.register(tabs.Tab("Tags", "registry_activity:tags", levels.READING))
        tabs.register(tabs.Tab("Activity", "registry_activity:repository", frozenset(permissions)))
        tabs.register_for_organizations("Activity", "registry_activity:organization")

        connection_created.connect(append_only.prepare)
        post_migrate.connect(protect_events, sender=self)


def protect_events(**_: Any) -> None:
    """Have the database refuse changes of events."""
    from activity.storage import append_only, partitions

    for table in partitions.tables():
        append_only.protect(table)
