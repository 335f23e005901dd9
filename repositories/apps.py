from django.apps import AppConfig
from django.db.models.signals import post_migrate


class RepositoriesConfig(AppConfig):
    name = "repositories"

    def ready(self) -> None:
        from repositories import receivers  # noqa: F401
        from repositories.groups import make_groups

        post_migrate.connect(make_groups, dispatch_uid="repositories.groups")
