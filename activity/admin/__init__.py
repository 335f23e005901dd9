"""The admin for events, registries, dead letters and auto-deletion, with one module for each."""

from typing import Any

from django.apps import apps
from django.contrib import admin

from activity.admin import (  # noqa: F401
    archives,
    auto_deletion,
    dead_letters,
    deletion_rules,
    disputes,
    events,
    holds,
    imports,
    registries,
    runs,
    verification,
)

APPS = ("registry_activity", "registry_repositories")


def register(site: admin.AdminSite) -> None:
    """Register the models of the apps with an admin site of its own, as with Django's default site."""
    for label in APPS:
        for model in apps.get_app_config(label).get_models():
            if admin.site.is_registered(model):
                model_admin: Any = type(admin.site.get_model_admin(model))
                site.register(model, model_admin)
