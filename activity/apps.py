from django.apps import AppConfig


class ActivityConfig(AppConfig):
    name = "activity"
    verbose_name = "Activity"

    def ready(self) -> None:
        from activity import auditing, receivers  # noqa: F401
        from repositories import levels, tabs

        permissions = {
            levels.VIEW_UNKNOWN_EVENTS,
            *(category.permission for category in levels.REPOSITORY_CATEGORIES),
        }
        auditing.connect()
        tabs.register(tabs.Tab("Activity", "activity:repository", frozenset(permissions)))
