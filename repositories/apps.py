from django.apps import AppConfig
from django.db.models.signals import post_migrate, post_save


class RepositoriesConfig(AppConfig):
    name = "repositories"
    label = "registry_repositories"

    def ready(self) -> None:
        from knox.models import get_token_model

        from repositories import receivers, tabs  # noqa: F401
        from repositories.access.groups import create_groups
        from repositories.access.levels import READ_PERMISSIONS, VIEW_POLICIES, VIEW_UNKNOWN_EVENTS
        from repositories.accounts import tokens

        for label, url_name, permissions in (
            ("Info", "registry_repositories:info", READ_PERMISSIONS),
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
        post_save.connect(tokens.add_details, sender=get_token_model())
        post_migrate.connect(create_groups, dispatch_uid="repositories.groups")
