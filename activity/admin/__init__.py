"""The admin of events, registries, dead letters and auto-deletion, one module for each."""

from activity.admin import dead_letters, deletion, events, registries, schedules  # noqa: F401
