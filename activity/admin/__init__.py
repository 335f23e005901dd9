"""The admin of events and of what concerns them, one module for each subject."""

from activity.admin import dead_letters, deletion, events, registries, schedules  # noqa: F401
