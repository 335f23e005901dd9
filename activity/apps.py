from typing import Any

from django.apps import AppConfig
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate, post_save


class ActivityConfig(AppConfig):
    name = "activity"
    verbose_name = "Activity"

    def ready(self) -> None:
        from knox.models import get_token_model

        from activity import append_only, auditing, receivers, tokens  # noqa: F401
        from activity.last_activity import last_activity as newest_visible_event
        from repositories import last_activity, levels, tabs

        post_save.connect(tokens.describe, sender=get_token_model())
        permissions = {
            levels.VIEW_UNKNOWN_EVENTS,
            *(category.permission for category in levels.REPOSITORY_CATEGORIES),
        }
        auditing.connect()
        last_activity.register(newest_visible_event)
        tabs.register(tabs.Tab("Tags", "activity:tags", levels.READING))
        tabs.register(tabs.Tab("Activity", "activity:repository", frozenset(permissions)))
        tabs.register_for_organizations("Activity", "activity:organization")

        connection_created.connect(append_only.prepare)
        post_migrate.connect(protect_events, sender=self)


def protect_events(**_: Any) -> None:
    """Have the database refuse changes of events."""
    from activity import append_only, partitions

    for table in partitions.tables():
        append_only.protect(table)
