from django.apps import AppConfig
from django.db.models.signals import post_migrate


class RepositoriesConfig(AppConfig):
    name = "repositories"

    def ready(self) -> None:
        from repositories import receivers, tabs  # noqa: F401
        from repositories.groups import make_groups
        from repositories.levels import READING, VIEW_POLICIES, VIEW_UNKNOWN_EVENTS

        for label, url_name, permissions in (
            ("Info", "repositories:info", READING),
            ("Promotions", "repositories:promotions", frozenset({VIEW_POLICIES})),
            ("Mirrors", "repositories:mirrors", frozenset({VIEW_POLICIES})),
            ("Pruning", "repositories:pruning", frozenset({VIEW_POLICIES})),
            ("Permissions", "repositories:permissions", frozenset({"manage_access", VIEW_UNKNOWN_EVENTS})),
            ("Settings", "repositories:repository_settings", frozenset({"edit", "delete"})),
        ):
            tabs.register(tabs.Tab(label, url_name, permissions))
        post_migrate.connect(make_groups, dispatch_uid="repositories.groups")
