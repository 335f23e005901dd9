"""What MSR admins and auditors see of the activity, a module for each thing; they register themselves."""

from activity.admin import dead_letters, events, registries, schedules, tokens  # noqa: F401
from activity.deletion import admin  # noqa: F401
