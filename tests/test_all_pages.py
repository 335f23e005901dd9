"""Every page loads without console errors, fits the screen, and has no accessibility violations.

Opening the pages takes most of the time, so each page is opened only once, for all tests. Each page is
checked in light mode at desktop size and in dark mode at phone size. Other sizes of screens must fit, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from django.urls import resolve
from selenium.webdriver import Chrome

from tests import pages, services
from tests.running import Application, application, console_messages, status
from tests.url_tables import SITE_URLS

pytestmark = pytest.mark.long

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SITE_PAGES = {
    name
    for name, statuses in SITE_URLS.items()
    if statuses[-1] == 200 and not name.endswith(("-atom", ":metrics"))
}
SWAGGER = "api"
"""The name of the API documentation page. It isn't checked by axe, because Swagger UI has violations."""


@dataclass
class Visit:
    """The problems found on each page. Keys also name the screen size and color scheme if these matter."""

    view_names: set[str] = field(default_factory=set)
    errors: dict[str, list[str]] = field(default_factory=dict)
    too_wide: dict[str, list[str]] = field(default_factory=dict)
    violations: dict[str, list[str]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with application(tmp_path_factory.mktemp("application"), events=300) as app:
        yield app
        assert "Traceback" not in app.log("web")


@pytest.fixture(scope="module")
def visit(app: Application) -> Visit:
    axe = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
    visit = Visit()
    with services.chromium(1280, 900) as driver:
        driver.set_script_timeout(120)
        for name in pages.visit(driver, app):
            visit.view_names.add(resolve(urlsplit(driver.current_url).path).view_name)
            visit.errors[name] = errors(driver, name)
            driver.execute_script("document.querySelectorAll('details').forEach(part => part.open = true)")
            driver.execute_script(axe)
            for (width, size), scheme in zip(pages.SIZES.items(), pages.SCHEMES, strict=True):
                pages.emulate(driver, size, scheme)
                if name != SWAGGER:
                    visit.violations[f"{name}, {width}, {scheme}"] = violations(driver)
            for pixels in pages.WIDTHS:
                pages.resize(driver, pixels, 900)
                visit.too_wide[f"{name}, {pixels} pixels"] = too_wide(driver)
    return visit


def errors(driver: Chrome, name: str) -> list[str]:
    """Return a page's problems: an unexpected status, and console messages."""
    expected = pages.STATUS.get(name, 200)
    found = [] if status(driver) == expected else [f"Status {status(driver)}"]
    # The browser logs a message if a page has an error status, and another message if the favicon is missing,
    # as in the admin. Ignore both messages.
    icon = urljoin(driver.current_url, "/favicon.ico")
    ignored = tuple(f"{url} - Failed to load" for url in (driver.current_url, icon))
    messages = console_messages(driver)
    return found + [message for message in messages if not message.startswith(ignored)]


def too_wide(driver: Chrome) -> list[str]:
    """Return the elements whose content sticks out at the right, unless they scroll. The first is the page.

    The columns of the admin's front page stick out, because Django moves the second one with a negative
    margin, and so do boxes of Swagger UI.
    """
    found: list[str] = driver.execute_script(
        "const isTooWide = element => element.scrollWidth > element.clientWidth + 1;"
        "const page = isTooWide(document.documentElement) ? ['The page'] : [];"
        "const parts = [...document.querySelectorAll('body :not(.colMS, #swagger-ui *)')].filter(element => {"
        "  if (!element.clientWidth || !isTooWide(element)) return false;"
        "  const style = getComputedStyle(element);"
        "  return style.overflowX === 'visible' && style.display !== 'inline';"
        "});"
        "return [...page, ...parts.map(part => part.outerHTML.slice(0, 100))]"
    )
    return found


def violations(driver: Chrome) -> list[str]:
    """Return the violations that axe finds on the current page. The axe script must already be loaded.

    The admin's autocomplete fields are excluded, because Django's Select2 gives them no accessible name.
    axe doesn't compute selectors, because computing selectors is slow on large pages.
    axe doesn't preload stylesheets, because the content security policy would block the requests.
    """
    found: list[dict[str, Any]] = driver.execute_async_script(
        "const options = {resultTypes: ['violations'], selectors: false, preload: false};"
        "axe.run({exclude: ['.select2']}, {runOnly: arguments[0], ...options})"
        ".then(result => arguments[1](result.violations))",
        TAGS,
    )
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found]


def failures(results: dict[str, Any]) -> dict[str, Any]:
    """Return only the pages with problems."""
    return {page: problems for page, problems in results.items() if problems}


def test_every_page_of_the_site_is_visited(visit: Visit) -> None:
    assert visit.view_names >= SITE_PAGES


def test_every_page_loads_without_console_errors(visit: Visit) -> None:
    assert failures(visit.errors) == {}


def test_every_page_and_its_parts_fit_the_screen(visit: Visit) -> None:
    assert failures(visit.too_wide) == {}


def test_axe_finds_no_violations_on_any_page(visit: Visit) -> None:
    assert failures(visit.violations) == {}
