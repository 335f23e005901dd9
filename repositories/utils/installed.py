"""Names the apps that a site has to install, before an import fails with a message that doesn't."""

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured


def require_apps(name: str, *needed: str) -> None:
    """Raise ImproperlyConfigured if an app whose models the app `name` uses isn't installed."""
    missing = [app for app in needed if not apps.is_installed(app)]
    if missing:
        raise ImproperlyConfigured(
            f"Add {', '.join(map(repr, missing))} to INSTALLED_APPS: {name!r} needs them."
        )
