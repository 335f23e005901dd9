"""The admin for events, registries, dead letters, auto-deletion and schedules, with one module for each."""

from activity.admin import dead_letters, deletion, disputes, events, registries, schedules  # noqa: F401
