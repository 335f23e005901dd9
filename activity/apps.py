from typing import Any

from django.apps import AppConfig
from django.apps import apps as installed_apps
from django.db.backends.signals import connection_created
from django.db.models import Q
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _

from repositories.utils.installed import require_apps
from repositories.utils.migrated import mark_migrated


class ActivityConfig(AppConfig):
    name = "activity"
    label = "registry_activity"
    verbose_name = _("Activity")
    default_auto_field = "django.db.models.BigAutoField"

    def import_models(self) -> None:
        require_apps(self.name, "repositories", "django_celery_beat")
        super().import_models()

    def ready(self) -> None:
        from activity import checks  # noqa: F401
        from activity.deletion import changes
        from activity.feed.last_activity import last_activity
        from activity.sources import audit_receivers, failed_logins, registries
        from activity.storage import append_only, heartbeats
        from repositories import extensions, tabs
        from repositories.access import levels

        audit_receivers.connect()
        failed_logins.connect()
        changes.connect()
        heartbeats.connect()
        all_events = levels.CATEGORY_PERMISSIONS | {levels.VIEW_UNKNOWN_EVENTS}
        pulls = {levels.Category.PULL.permission}
        tabs.register(
            tabs.Tab(20, _("Tags"), "registry_activity:tags", levels.READ_PERMISSIONS),
            tabs.Tab(30, _("Activity"), "registry_activity:repository", all_events),
            tabs.Tab(35, _("Pulls"), "registry_activity:pulls", pulls),
        )
        tabs.ORGANIZATION_TABS["registry_activity:organization"] = _("Activity")
        extensions.URL_NAMES.update(user="registry_activity:user", policy="registry_activity:policy")
        extensions.LAST_ACTIVITY.add(last_activity)
        extensions.REASONS_TO_KEEP.add(registries.reasons_to_keep)
        extensions.MANAGED |= Q(content_type__app_label=self.label)

        connection_created.connect(append_only.prepare_sqlite)
        post_migrate.connect(mark_migrated, sender=self)
        post_migrate.connect(prepare_database, sender=self)


def prepare_database(apps: Any = installed_apps, **_: Any) -> None:
    """Protect the events, restore the schedule and note that the clock is right. For `post_migrate`.

    `apps` contains the models that exist after a migration, which may have removed those of this app.
    """
    if not apps.all_models[ActivityConfig.label]:
        return
    from activity import schedule
    from activity.models import MessageBatch
    from activity.storage import append_only, heartbeats, partitions

    append_only.protect(*partitions.tables(), MessageBatch._meta.db_table)
    schedule.restore(schedule.SCHEDULE)
    heartbeats.beat(heartbeats.MIGRATIONS)
