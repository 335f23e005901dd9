"""List all pages of the running application, each with a short name and a user who can see most of it.

    for name in pages.visit(driver, app):
        ...

`test_all_pages.py` checks the layout and the accessibility of each page, and `python -m tests.screenshots`
takes pictures of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urlencode

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from tests.running import Application, poll, sign_in

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
WIDTHS = (320, 390, 640, 768, 900, 1000, 1280, 1600)
"""The widths of screens, in pixels, that each page must fit. 640 is a desktop at 200%."""
SCHEMES = ("light", "dark")

REPOSITORY = "/repositories/acme/web/"
ACTIVITY = f"{REPOSITORY}activity/"
ORGANIZATION = "/organizations/acme/"
SWAGGER = "/api/v0/docs/"
ANONYMOUS = ""

STATUS = {"not-found": 404, "forbidden": 403, "activity-invalid-range": 400}
"""The names and HTTP statuses of the pages that don't return 200."""

INVALID_MESSAGE = {"events": [{"id": "1", "action": "push", "timestamp": "yesterday"}]}

FIND_IDS = """
import json
from activity.storage import tallies
from activity.models import DeadLetter, Event, Run
from django.contrib.auth.models import User
from repositories.models import Policy, Repository
tallies.fold()
web = Repository.objects.named("acme/web").get()
print(json.dumps({
    "event": str(Event.objects.filter(repository=web, kind="promote").latest("id").pk),
    "push": str(Event.objects.filter(repository=web, kind="update_tag").latest("id").pk),
    "policy": Policy.objects.get(repository=web, kind="promotion").public_id,
    "repository": web.pk,
    "user": User.objects.get(username="repoadmin").pk,
    "run": Run.objects.latest("id").pk,
    "dead_letter": DeadLetter.objects.latest("id").pk,
}))
"""


def paths_by_viewer(app: Application) -> dict[str, dict[str, str]]:
    """Return the paths of all pages, as `{viewer: {page name: path}}`.

    A preview run and a dead letter are created first, so that their pages exist.
    """
    app.manage("delete_events", "--dry-run")
    app.notify(json.dumps(INVALID_MESSAGE))
    ids = json.loads(app.shell(FIND_IDS))
    policy = f"/policies/{ids['policy']}/"
    invalid_range = urlencode({"range": "custom", "after": "2026-01-01T00:00", "before": "2025-01-01T00:00"})
    return {
        ANONYMOUS: {"login": "/accounts/login/"},
        "outsider": {
            "empty-organizations": "/organizations/",
            "empty-tags": "/repositories/acme/docs/tags/?q=none",
            "reader-public": "/repositories/acme/docs/info/",
            "reader-user": "/users/dana/",
        },
        "reader": {
            "reader-activity": ACTIVITY,
            "reader-tags": f"{REPOSITORY}tags/",
            "reader-event": f"/events/{ids['push']}/",
        },
        "auditor": {"forbidden": "/admin/auth/user/add/"},
        "admin": {
            "repositories": "/repositories/",
            "repositories-searched": "/repositories/?q=web&namespace=acme",
            "repositories-not-found": "/repositories/?q=no-such-name",
            "repositories-by-pull": "/repositories/?sort=pull&not_pulled_for=1",
            "new-repository": "/repositories/new/",
            "info": f"{REPOSITORY}info/",
            "tags": f"{REPOSITORY}tags/",
            "pulls": f"{REPOSITORY}pulls/?range=quarter",
            "activity": ACTIVITY,
            "activity-searched": f"{ACTIVITY}?q=type:delete",
            "event": f"/events/{ids['event']}/",
            "activity-pulls": f"{ACTIVITY}?exclude_pull=false",
            "activity-sorted": f"{ACTIVITY}?sort=tag&range=quarter",
            "activity-invalid-range": f"{ACTIVITY}?{invalid_range}",
            "activity-empty": f"{ACTIVITY}?range=custom&before=2025-01-01T00:00",
            "promotions": f"{REPOSITORY}promotions/",
            "mirrors": f"{REPOSITORY}mirrors/",
            "pruning": f"{REPOSITORY}pruning/",
            "empty-promotions": "/repositories/acme/docs/promotions/",
            "permissions": f"{REPOSITORY}permissions/",
            "permissions-by-team": f"{REPOSITORY}permissions/?by=team",
            "repository-settings": f"{REPOSITORY}settings/",
            "new-policy": f"{REPOSITORY}new-pruning-policy/",
            "policy": policy,
            "policy-edit": f"{policy}edit/",
            "policy-delete": f"{policy}delete/",
            "all-activity": "/activity/?range=month",
            "organizations": "/organizations/",
            "new-organization": "/new-organization/",
            "organization": ORGANIZATION,
            "members": f"{ORGANIZATION}members/",
            "teams": f"{ORGANIZATION}teams/",
            "team": f"{ORGANIZATION}teams/web-admins/",
            "team-access": f"{ORGANIZATION}teams/web-admins/access/",
            "organization-activity": f"{ORGANIZATION}activity/",
            "user": "/users/repoadmin/",
            "settings": "/settings/",
            "tokens": "/settings/tokens/",
            "password": "/settings/password/",
            "not-found": "/repositories/acme/nothing/activity/",
            "api": SWAGGER,
            "admin": "/admin/",
            "admin-events": "/admin/registry_activity/event/",
            "admin-overview": "/admin/registry_activity/event/overview/",
            "admin-event": f"/admin/registry_activity/event/{ids['event']}/change/",
            "admin-repository-access": f"/admin/registry_repositories/repository/{ids['repository']}/access/",
            "admin-users": "/admin/auth/user/",
            "admin-user-access": f"/admin/registry_repositories/repository/access-of-user/{ids['user']}/",
            "admin-auto-deletion": "/admin/registry_activity/autodeletion/",
            "admin-applicable-rules": "/admin/registry_activity/deletionrule/applicable/?repository=acme/web",
            "admin-runs": "/admin/registry_activity/run/",
            "admin-run": f"/admin/registry_activity/run/{ids['run']}/change/",
            "admin-dead-letters": "/admin/registry_activity/deadletter/",
            "admin-dead-letter": f"/admin/registry_activity/deadletter/{ids['dead_letter']}/change/",
        },
    }


def visit(driver: Chrome, app: Application) -> Iterator[str]:
    """Open each page as its viewer, and yield the page's name once it has loaded."""
    for viewer, paths in paths_by_viewer(app).items():
        if viewer:
            sign_in(driver, app, viewer)
        for name, path in paths.items():
            driver.get(app.url + path)
            if path == SWAGGER:
                poll(lambda: bool(driver.find_elements(By.CSS_SELECTOR, ".opblock")), True)
            yield name


def resize(driver: Chrome, width: int, height: int) -> None:
    """Set the screen size."""
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


def emulate(driver: Chrome, size: tuple[int, int], scheme: str) -> None:
    """Set the screen size and the color scheme, and wait until all CSS transitions have ended."""
    resize(driver, *size)
    features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
    media = [{"name": name, "value": value} for name, value in features.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    driver.execute_async_script(
        "const done = arguments[0], ended = () => document.getAnimations().map(each => each.finished);"
        "requestAnimationFrame(() => Promise.allSettled(ended()).then(() => done()))"
    )
