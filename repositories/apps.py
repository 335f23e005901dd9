from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate
from django.utils.translation import gettext_lazy as _

from repositories.utils.installed import require_apps
from repositories.utils.migrated import mark_migrated


class RepositoriesConfig(AppConfig):
    name = "repositories"
    label = "registry_repositories"
    verbose_name = _("Repositories")
    default_auto_field = "django.db.models.BigAutoField"

    def import_models(self) -> None:
        require_apps(self.name, "django.contrib.auth", "django.contrib.contenttypes", "guardian", "knox")
        super().import_models()

    def ready(self) -> None:
        from repositories import receivers  # noqa: F401
        from repositories.access.groups import create_groups, remove_groups
        from repositories.accounts import sessions

        sessions.connect()
        pre_migrate.connect(remove_groups, sender=self)
        post_migrate.connect(mark_migrated, sender=self)
        post_migrate.connect(create_groups, dispatch_uid="repositories.groups")
