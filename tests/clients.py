"""Clients of a registry: skopeo, podman, containerd's ctr, and curl.

Each object is a machine of its own: what one machine has stored is still unknown to the others. An image is
named `acme/web:v1` or `acme/web@sha256:…`. Images are pushed from OCI layouts, which `tests.images` creates.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from tests import images, services
from tests.running import TIMEOUT

USERS = {"repoadmin": "secret of repoadmin", "reader": "secret of reader"}
"""The usernames and passwords of the registry's users."""


@dataclass
class Client:
    """A program on a machine of its own. Abstract: each program has its own commands."""

    address: str
    """The registry's host and port."""
    folder: Path
    """An existing folder for the machine's files."""

    def check(self) -> None:
        """Run the program without the registry. Raises `services.UnusableProgram` if that isn't possible."""
        raise NotImplementedError

    def pull(self, name: str, by: str, architecture: str = "amd64") -> None:
        """Pull an image as a user. Of an index, the image for the architecture is pulled."""
        raise NotImplementedError

    def push(self, layout: Path, name: str, by: str = "repoadmin") -> None:
        """Push the image or the index of a layout as a user."""
        raise NotImplementedError


class Skopeo(Client):
    """Copies images from and to registries. Skopeo stores nothing, so it always pulls the whole image."""

    def check(self) -> None:
        services.check_program(self._command("--version"))

    def pull(self, name: str, by: str, architecture: str = "amd64") -> None:
        target = f"dir:{self.folder / uuid4().hex}"
        self._copy("--src-creds", credentials(by), self._url(name), target, architecture=architecture)

    def push(self, layout: Path, name: str, by: str = "repoadmin", media_types: str = "oci") -> None:
        """Push the image or the index of a layout as a user. Docker's media types are named `v2s2`."""
        options = ["--all", f"--format={media_types}", "--dest-creds", credentials(by)]
        self._copy(*options, f"oci:{layout}", self._url(name))

    def copy(self, name: str, to: str, by: str = "repoadmin") -> None:
        users = ["--src-creds", credentials(by), "--dest-creds", credentials(by)]
        self._copy(*users, self._url(name), self._url(to))

    def delete(self, name: str, by: str = "repoadmin") -> None:
        run(self._command("delete", "--tls-verify=false", "--creds", credentials(by), self._url(name)))

    def _copy(self, *arguments: str, architecture: str = "amd64") -> None:
        tls = ["--src-tls-verify=false", "--dest-tls-verify=false"]
        run(self._command(f"--override-arch={architecture}", "copy", *tls, *arguments))

    def _url(self, name: str) -> str:
        return f"docker://{self.address}/{name}"

    def _command(self, *arguments: str) -> list[str]:
        return [services.find_program("skopeo", "skopeo"), "--insecure-policy", *arguments]


class Podman(Client):
    """Stores images in the machine's folder."""

    @cached_property
    def runroot(self) -> TemporaryDirectory[str]:
        """A folder with a short path: podman accepts at most 50 characters."""
        return TemporaryDirectory(prefix="podman-", dir="/tmp")

    def check(self) -> None:
        layout = images.create_image(self.folder / "image")
        services.check_program(self._command("pull", f"oci:{layout}"))

    def pull(self, name: str, by: str, architecture: str = "amd64") -> None:
        self._transfer("pull", by, f"--arch={architecture}", f"{self.address}/{name}")

    def push(self, layout: Path, name: str, by: str = "repoadmin") -> None:
        stored = run(self._command("pull", "--quiet", f"oci:{layout}")).strip()
        self._transfer("push", by, stored, f"{self.address}/{name}")

    def _transfer(self, verb: str, by: str, *arguments: str) -> None:
        run(self._command(verb, "--tls-verify=false", "--creds", credentials(by), *arguments))

    def _command(self, *arguments: str) -> list[str]:
        folders = [f"--{name}={self.folder / name}" for name in ("root", "tmpdir")]
        folders.append(f"--runroot={self.runroot.name}")
        # The other storage drivers mount folders, which most containers don't allow.
        options = [*folders, "--storage-driver=vfs", "--events-backend=none"]
        return [services.find_program("podman", "podman"), *options, *arguments]


@dataclass
class Ctr(Client):
    """Stores images in a running containerd, in a namespace of its own."""

    socket: str
    namespace: str = field(default_factory=lambda: uuid4().hex)

    def check(self) -> None:
        services.check_program(self._command("version"))

    def pull(self, name: str, by: str, architecture: str = "amd64") -> None:
        # `images pull` does the same and then unpacks the image. Unpacking mounts a folder, which most
        # containers don't allow.
        platform = f"--platform=linux/{architecture}"
        self._transfer("content", "fetch", by, platform, f"{self.address}/{name}")

    def push(self, layout: Path, name: str, by: str = "repoadmin") -> None:
        archive = self.folder / f"{uuid4().hex}.tar"
        run(["tar", "--create", "--file", str(archive), "--directory", str(layout), "."])
        options = ["--no-unpack", "--all-platforms", "--digests", "--base-name=stored"]
        run(self._command("images", "import", *options, str(archive)))
        self._transfer("images", "push", by, f"{self.address}/{name}", f"stored@{images.digest(layout)}")

    def _transfer(self, noun: str, verb: str, by: str, *arguments: str) -> None:
        run(self._command(noun, verb, "--plain-http", "--user", credentials(by), *arguments))

    def _command(self, *arguments: str) -> list[str]:
        program = services.find_program("ctr", "containerd")
        return [program, f"--address={self.socket}", f"--namespace={self.namespace}", *arguments]


class Curl(Client):
    """Sends the requests that it is told to. Pulls only manifests, because only they matter."""

    def check(self) -> None:
        services.check_program(self._command("--version"))

    def pull(
        self,
        name: str,
        by: str,
        architecture: str = "amd64",
        media_types: str = f"{images.INDEX}, {images.MANIFEST}",
    ) -> None:
        """Pull the manifest of an image as a user. Accepts only these media types."""
        manifest = json.loads(self._request(name, by, "--header", f"Accept: {media_types}"))
        if "manifests" in manifest:
            repository, _ = _split(name)
            self.pull(f"{repository}@{images.platform_digest(manifest, architecture)}", by)

    def look_up(self, name: str, by: str) -> None:
        """Send a HEAD request for a manifest."""
        self._request(name, by, "--head", "--header", f"Accept: {images.INDEX}, {images.MANIFEST}")

    def delete(self, name: str, by: str) -> None:
        self._request(name, by, "--request", "DELETE")

    def _request(self, name: str, by: str, *options: str) -> str:
        repository, reference = _split(name)
        url = f"http://{self.address}/v2/{repository}/manifests/{reference}"
        quiet = ["--fail", "--silent", "--show-error", "--noproxy", "*"]
        return run(self._command(*quiet, "--user", credentials(by), *options, url))

    def _command(self, *arguments: str) -> list[str]:
        return [services.find_program("curl", "curl"), *arguments]


def credentials(user: str) -> str:
    return f"{user}:{USERS[user]}"


def run(command: list[str]) -> str:
    """Run a command that must succeed, and return its output."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT).stdout


def _split(name: str) -> tuple[str, str]:
    """Split the name of an image into its repository, and its tag or digest."""
    repository, separator, digest = name.partition("@")
    if separator:
        return repository, digest
    repository, _, tag = name.rpartition(":")
    return repository, tag
