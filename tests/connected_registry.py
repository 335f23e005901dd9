"""Run a registry that sends its notifications to a running application.

with connected_registry(app, folder) as registry:
    registry.skopeo.push(registry.image, "acme/web:v1")
    registry.wait_for_notifications()
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import requests
import yaml

from tests import images, services
from tests.clients import USERS, Skopeo
from tests.running import TIMEOUT, Application, poll


@dataclass
class Registry:
    """A registry that sends notifications to an application."""

    app: Application
    address: str
    skopeo: Skopeo
    image: Path
    """The layout of an image."""
    markers: Iterator[int] = field(default_factory=count)

    @property
    def digest(self) -> str:
        """The digest of the image. It is the same for every push."""
        return images.digest(self.image)

    def request_manifest(self, method: str, name: str, reference: str, by: str) -> requests.Response:
        """Request a manifest by tag or digest, as a Docker client does."""
        url = f"http://{self.address}/v2/{name}/manifests/{reference}"
        headers = {"Accept": images.MANIFEST, "User-Agent": "docker/29.1.2 go/go1.25 os/linux"}
        response = requests.request(method, url, auth=(by, USERS[by]), headers=headers, timeout=TIMEOUT)
        response.raise_for_status()
        return response

    def wait_for_notifications(self) -> None:
        """Wait until all notifications have been recorded.

        Notifications arrive in order. Once the event for one more push has been recorded, so have all earlier
        notifications.
        """
        marker = f"marker-{next(self.markers)}"
        self.skopeo.push(self.image, f"acme/docs:{marker}")
        query = {"repository": "acme/docs", "tag": marker}
        assert poll(lambda: len(self.app.events("admin", **query)), 1) == 1


@contextmanager
def connected_registry(app: Application, folder: Path, *, existing: Iterable[str] = ()) -> Iterator[Registry]:
    """Run a registry that is configured with the unchanged output of `manage.py registry_config`.

    The image is pushed under the `existing` names before the registry is connected, so that the application
    doesn't know them.
    """
    image = images.create_image(folder / "image")
    if existing:
        with services.docker_registry(folder, users=USERS) as address:
            for name in existing:
                Skopeo(address, folder).push(image, name)
    notifications = yaml.safe_load(app.manage("registry_config"))["notifications"]
    with services.docker_registry(folder, notifications=notifications, users=USERS) as address:
        yield Registry(app, address, Skopeo(address, folder), image)
