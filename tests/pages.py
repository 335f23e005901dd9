"""Every page of the running application, by a short name, as whoever best sees what it has to show.

    for name in pages.visit(driver, app):
        ...

A test of the looks and one of the accessibility visit them, and `python -m tests.screenshots` takes pictures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urlencode

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from tests.running import Application, poll, sign_in

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
SCHEMES = ("light", "dark")

REPOSITORY = "/repositories/acme/web/"
ACTIVITY = f"{REPOSITORY}activity/"
ORGANIZATION = "/organizations/acme/"
SWAGGER = "/api/v0/docs/"
NOBODY = ""

STATUS = {"not-found": 404, "forbidden": 403}
"""Of the pages that aren't answered with 200."""

WHAT_IS_ASIDE = {"events": [{"id": "1", "action": "push", "timestamp": "yesterday"}]}

FIND_IDS = """
import json
from activity.storage import tallies
from activity.models import Run
from activity.models import DeadLetter, Event
from django.contrib.auth.models import User
from repositories.models import Policy, Repository
tallies.fold()
web = Repository.objects.named("acme/web").get()
print(json.dumps({
    "event": str(Event.objects.filter(repository=web, kind="promote").latest("id").pk),
    "policy": Policy.objects.get(repository=web, kind="promotion").public_id,
    "repository": web.pk,
    "user": User.objects.get(username="repoadmin").pk,
    "run": Run.objects.latest("id").pk,
    "aside": DeadLetter.objects.latest("id").pk,
}))
"""


def addresses(app: Application) -> dict[str, dict[str, str]]:
    """Return the address of each page by its name, for each viewer."""
    app.manage("delete_events", "--dry-run")
    app.notify(json.dumps(WHAT_IS_ASIDE))
    ids = json.loads(app.shell(FIND_IDS))
    policy = f"/policies/{ids['policy']}/"
    wrong_range = urlencode({"range": "custom", "after": "2026-01-01T00:00", "before": "2025-01-01T00:00"})
    return {
        NOBODY: {"login": "/accounts/login/"},
        "outsider": {
            "empty-organizations": "/organizations/",
            "empty-tags": "/repositories/acme/docs/tags/?q=none",
            "reader-public": "/repositories/acme/docs/info/",
            "reader-user": "/users/dana/",
        },
        "reader": {"reader-activity": ACTIVITY, "reader-tags": f"{REPOSITORY}tags/"},
        "auditor": {"forbidden": "/admin/auth/user/add/"},
        "admin": {
            "repositories": "/repositories/",
            "repositories-searched": "/repositories/?q=web&namespace=acme",
            "repositories-not-found": "/repositories/?q=no-such-name",
            "new-repository": "/repositories/new/",
            "info": f"{REPOSITORY}info/",
            "tags": f"{REPOSITORY}tags/",
            "activity": ACTIVITY,
            "activity-pulls": f"{ACTIVITY}?exclude_pull=false",
            "activity-sorted": f"{ACTIVITY}?sort=tag&range=quarter",
            "activity-wrong-range": f"{ACTIVITY}?{wrong_range}",
            "activity-empty": f"{ACTIVITY}?range=custom&before=2025-01-01T00:00",
            "promotions": f"{REPOSITORY}promotions/",
            "mirrors": f"{REPOSITORY}mirrors/",
            "pruning": f"{REPOSITORY}pruning/",
            "empty-promotions": "/repositories/acme/docs/promotions/",
            "permissions": f"{REPOSITORY}permissions/",
            "permissions-of-teams": f"{REPOSITORY}permissions/?by=team",
            "repository-settings": f"{REPOSITORY}settings/",
            "new-policy": f"{REPOSITORY}new-pruning-policy/",
            "policy": policy,
            "policy-edit": f"{policy}edit/",
            "policy-delete": f"{policy}delete/",
            "activity-of-all": "/activity/?range=month",
            "organizations": "/organizations/",
            "organization": ORGANIZATION,
            "members": f"{ORGANIZATION}members/",
            "teams": f"{ORGANIZATION}teams/",
            "team": f"{ORGANIZATION}teams/web-admins/",
            "team-access": f"{ORGANIZATION}teams/web-admins/access/",
            "activity-of-organization": f"{ORGANIZATION}activity/",
            "user": "/users/repoadmin/",
            "settings": "/settings/",
            "tokens": "/settings/tokens/",
            "password": "/settings/password/",
            "not-found": "/repositories/acme/nothing/activity/",
            "api": SWAGGER,
            "admin": "/admin/",
            "admin-events": "/admin/registry_activity/event/",
            "admin-event": f"/admin/registry_activity/event/{ids['event']}/change/",
            "admin-access-to-repository": f"/admin/registry_repositories/repository/{ids['repository']}/access/",
            "admin-access-of-user": f"/admin/auth/user/{ids['user']}/access/",
            "admin-auto-deletion": "/admin/registry_activity/autodeletion/",
            "admin-rules": "/admin/registry_activity/deletionrule/deciding/?repository=acme/web",
            "admin-job-logs": "/admin/registry_activity/run/",
            "admin-job-log": f"/admin/registry_activity/run/{ids['run']}/change/",
            "admin-asides": "/admin/registry_activity/deadletter/",
            "admin-aside": f"/admin/registry_activity/deadletter/{ids['aside']}/change/",
        },
    }


def visit(driver: Chrome, app: Application) -> Iterator[str]:
    """Open one page after another, and yield its name."""
    for viewer, named in addresses(app).items():
        if viewer:
            sign_in(driver, app, viewer)
        for name, address in named.items():
            driver.get(app.url + address)
            if address == SWAGGER:
                poll(lambda: bool(driver.find_elements(By.CSS_SELECTOR, ".opblock")), True)
            yield name


def show(driver: Chrome, size: tuple[int, int], scheme: str) -> None:
    """Show the page on a screen of this size, in light or dark, once its colours have changed."""
    width, height = size
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
    media = [{"name": name, "value": value} for name, value in features.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    driver.execute_async_script(
        "const done = arguments[0], ends = () => document.getAnimations().map(each => each.finished);"
        "requestAnimationFrame(() => Promise.allSettled(ends()).then(() => done()))"
    )
