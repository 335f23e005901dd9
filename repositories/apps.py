from django.apps import AppConfig
from django.db.models.signals import post_migrate, post_save


class RepositoriesConfig(AppConfig):
    name = "repositories"
    label = "registry_repositories"

    def ready(self) -> None:
        from knox.models import get_token_model

        from repositories import receivers, tabs  # noqa: F401
        from repositories.access.groups import make_groups
        from repositories.access.levels import READING, VIEW_POLICIES, VIEW_UNKNOWN_EVENTS
        from repositories.accounts import tokens

        for label, url_name, permissions in (
            ("Info", "registry_repositories:info", READING),
            ("Promotions", "registry_repositories:promotions", frozenset({VIEW_POLICIES})),
            ("Mirrors", "registry_repositories:mirrors", frozenset({VIEW_POLICIES})),
            ("Pruning", "registry_repositories:pruning", frozenset({VIEW_POLICIES})),
            (
                "Permissions",
                "registry_repositories:permissions",
                frozenset({"manage_access", VIEW_UNKNOWN_EVENTS}),
            ),
            ("Settings", "registry_repositories:repository_settings", frozenset({"edit", "delete"})),
        ):
            tabs.register(tabs.Tab(label, url_name, permissions))
        post_save.connect(tokens.describe, sender=get_token_model())
        post_migrate.connect(make_groups, dispatch_uid="repositories.groups")
