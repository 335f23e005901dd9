from typing import Any

from django.apps import AppConfig
from django.apps import apps as installed_apps
from django.db.backends.signals import connection_created
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
        from activity.feed.last_activity import last_activity as last_visible_activity
        from activity.sources import auditing, failed_logins, registries
        from activity.storage import append_only, heartbeats
        from repositories import administrators, last_activity, links, tabs
        from repositories.access import groups, levels

        permissions = {
            levels.VIEW_UNKNOWN_EVENTS,
            *(category.permission for category in levels.REPOSITORY_CATEGORIES),
        }
        groups.APPS.add(self.label)
        auditing.connect()
        failed_logins.connect()
        changes.connect()
        heartbeats.connect()
        administrators.register_reasons(registries.reasons_to_keep)
        last_activity.register(last_visible_activity)
        tabs.register(tabs.Tab(20, _("Tags"), "registry_activity:tags", levels.READ_PERMISSIONS))
        tabs.register(tabs.Tab(30, _("Activity"), "registry_activity:repository", frozenset(permissions)))
        pulls = frozenset({levels.Category.PULL.permission})
        tabs.register(tabs.Tab(35, _("Pulls"), "registry_activity:pulls", pulls))
        tabs.register_organization_tab(_("Activity"), "registry_activity:organization")
        links.URL_NAMES.update(user="registry_activity:user", policy="registry_activity:policy")

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
