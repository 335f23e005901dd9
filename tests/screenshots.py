"""Takes screenshots of every page, in light and dark mode, on a desktop and on a phone.

`make screenshots` writes the screenshots to `screenshots/`, which is in .gitignore.
"""

from __future__ import annotations

import base64
import os
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from selenium.webdriver import Chrome

from tests import pages, services
from tests.running import PROJECT, application
from tests.standalone import configure

FOLDER = PROJECT / "screenshots"
MAX_HEIGHT = 4000
"""The maximum height of a screenshot, in pixels. Longer pages are cut off."""


def main() -> None:
    with TemporaryDirectory(prefix="screenshots-", ignore_cleanup_errors=True) as name:
        configure(DATA_DIR=name, SECRET_KEY="screenshots")
        FOLDER.mkdir(exist_ok=True)
        folder = Path(name, "application")
        folder.mkdir()
        with application(folder, events=1500) as app, services.chromium(1280, 900) as driver:
            for page in pages.visit(driver, app):
                for (screen, size), scheme in product(pages.SIZES.items(), pages.SCHEMES):
                    pages.emulate(driver, size, scheme)
                    (FOLDER / f"{page}-{screen}-{scheme}.png").write_bytes(screenshot(driver))
    print(f"{len(os.listdir(FOLDER))} screenshots in {FOLDER}")


def screenshot(driver: Chrome) -> bytes:
    """Return a screenshot of the whole page as a PNG."""
    width, height = driver.execute_script("return [innerWidth, document.documentElement.scrollHeight]")
    clip = {"x": 0, "y": 0, "width": width, "height": min(height, MAX_HEIGHT), "scale": 1}
    result = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    return base64.b64decode(result["data"])


if __name__ == "__main__":
    main()
