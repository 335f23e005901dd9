"""Takes a picture of every page, light and dark, on a desktop and on a phone, for people to look at.

`make screenshots` writes them to `screenshots/`, which git ignores.
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
HEIGHT = 4000
"""No picture is higher, in pixels."""


def main() -> None:
    with TemporaryDirectory(prefix="screenshots-", ignore_cleanup_errors=True) as name:
        configure(DATA_DIR=name, SECRET_KEY="screenshots")
        FOLDER.mkdir(exist_ok=True)
        folder = Path(name, "application")
        folder.mkdir()
        with application(folder, events=1500) as app, services.chromium(1280, 900) as driver:
            for page in pages.visit(driver, app):
                for (width, size), scheme in product(pages.SIZES.items(), pages.SCHEMES):
                    pages.show(driver, size, scheme)
                    (FOLDER / f"{page}-{width}-{scheme}.png").write_bytes(picture(driver))
    print(f"{len(os.listdir(FOLDER))} pictures in {FOLDER}")


def picture(driver: Chrome) -> bytes:
    """Return a picture of the whole page, as PNG."""
    width, height = driver.execute_script("return [innerWidth, document.documentElement.scrollHeight]")
    clip = {"x": 0, "y": 0, "width": width, "height": min(height, HEIGHT), "scale": 1}
    taken = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    return base64.b64decode(taken["data"])


if __name__ == "__main__":
    main()
