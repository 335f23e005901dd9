from django.apps import AppConfig


class ActivityConfig(AppConfig):
    name = "activity"
    verbose_name = "Activity"

    def ready(self) -> None:
        from activity import receivers  # noqa: F401
        from activity.last_activity import last_activity as newest_visible_event
        from repositories import last_activity, levels, tabs

        permissions = {
            levels.VIEW_UNKNOWN_EVENTS,
            *(category.permission for category in levels.REPOSITORY_CATEGORIES),
        }
        last_activity.register(newest_visible_event)
        tabs.register(tabs.Tab("Tags", "activity:tags", levels.READING))
        tabs.register(tabs.Tab("Activity", "activity:repository", frozenset(permissions)))
