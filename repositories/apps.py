from django.apps import AppConfig
from django.db.models.signals import post_migrate


class RepositoriesConfig(AppConfig):
    name = "repositories"

    def ready(self) -> None:
        from repositories import levels, receivers, tabs  # noqa: F401
        from repositories.groups import make_groups

        for label in ("Promotions", "Mirrors", "Pruning"):
            url_name = f"repositories:{label.lower()}"
            tabs.register(tabs.Tab(label, url_name, frozenset({levels.VIEW_POLICIES})))
        post_migrate.connect(make_groups, dispatch_uid="repositories.groups")
