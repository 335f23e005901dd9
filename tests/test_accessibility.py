"""Axe finds no violation on any page of the site, in light and dark, on a desktop and on a phone.

The pages are found by following the links, so that a new one is looked at as soon as it is linked. Django's
own admin and Swagger UI aren't looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.urls import Resolver404, resolve
from selenium.webdriver import Chrome

from tests import services
from tests.running import Application, application, sign_in

ACTIVITY = "/repositories/acme/web/activity/"
UNLINKED = [
    f"{ACTIVITY}?sort=tag&exclude_pull=false",
    f"{ACTIVITY}?tag=none",
    f"{ACTIVITY}?range=custom&after=2026-01-01T00:00&before=2025-01-01T00:00",
    "/nowhere/",
]
OTHERS = ("/admin/", "/api/", "/static/")
FILES = ("atom/",)
SETTINGS = [{"dark": False, "size": (1280, 900)}, {"dark": True, "size": (375, 812)}]
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with application(tmp_path_factory.mktemp("application"), events=300) as app:
        yield app


@pytest.fixture(scope="module")
def axe() -> str:
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


def violations(driver: Chrome, axe: str) -> list[str]:
    """Return what axe finds on the page that is shown, with all that can be unfolded open."""
    driver.execute_script("document.querySelectorAll('details').forEach(part => part.open = true)")
    driver.execute_script(axe)
    found: list[dict[str, Any]] = driver.execute_async_script(
        "axe.run({runOnly: arguments[0]}).then(result => arguments[1](result.violations))", TAGS
    )
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found]


def kind_of(path: str) -> str:
    """Return what kind of page has an address: the name of its view, and its tab if that is a parameter."""
    try:
        match = resolve(path)
    except Resolver404:
        return path
    return match.view_name


def links(driver: Chrome, app: Application) -> list[str]:
    hrefs: list[str] = driver.execute_script(
        "return [...document.querySelectorAll('a[href]')].map(a => a.href)"
    )
    paths = [urlsplit(str(href)).path for href in hrefs if str(href).startswith(app.url)]
    return [path for path in paths if not path.startswith(OTHERS) and not path.endswith(FILES)]


def look(driver: Chrome, axe: str, setting: dict[str, Any]) -> list[str]:
    width, height = setting["size"]
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if setting["dark"] else "light"}
    # Colours that are under way from light to dark are neither.
    motion = {"name": "prefers-reduced-motion", "value": "reduce"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, motion]})
    return [f"{'dark' if setting['dark'] else 'light'}, {width}: {each}" for each in violations(driver, axe)]


@pytest.mark.parametrize("who", ["admin", "reader"])
def test_no_page_is_hard_to_use(app: Application, axe: str, who: str) -> None:
    found: dict[str, list[str]] = {}
    with services.chromium(1280, 900) as driver:
        driver.set_script_timeout(120)
        driver.get(f"{app.url}/accounts/login/")
        found["login"] = [each for setting in SETTINGS for each in look(driver, axe, setting)]
        sign_in(driver, app, who)
        waiting, seen = ["/", ACTIVITY, *UNLINKED], {"logout"}
        while waiting:
            address = waiting.pop(0)
            kind = address if "?" in address else kind_of(address)
            if kind in seen:
                continue
            seen.add(kind)
            driver.get(app.url + address)
            found[f"{kind} ({address})"] = [
                each for setting in SETTINGS for each in look(driver, axe, setting)
            ]
            waiting += links(driver, app)

    assert {"activity:all", "activity:user", "activity:tokens", "repositories:settings"} <= seen
    assert {page: wrong for page, wrong in found.items() if wrong} == {}
