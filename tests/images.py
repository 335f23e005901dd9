"""Create small images as OCI layouts: folders that clients can push to a registry.

The same arguments always create the same image with the same digest.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

Descriptor = dict[str, Any]
"""The media type, the digest and the size of a blob or a manifest."""


def create_image(folder: Path) -> Path:
    """Create a layout with an image that contains an empty file, and return the layout's folder."""
    return _write_layout(folder, _add_image(folder, "amd64"))


def create_index(folder: Path, *architectures: str) -> Path:
    """Create a layout with an index that lists an image for each architecture."""
    images = [
        _add_image(folder, architecture) | {"platform": {"os": "linux", "architecture": architecture}}
        for architecture in architectures
    ]
    return _write_layout(folder, _add_index(folder, images))


def create_signature(folder: Path) -> Path:
    """Create a layout with a manifest like those that cosign stores under the tag `sha256-….sig`."""
    return _write_layout(folder, _add_artifact(folder, "application/vnd.dev.cosign.simplesigning.v1+json"))


def create_referrers(folder: Path, subject: Descriptor) -> Path:
    """Create a layout with an index that lists an SBOM of the subject.

    If a registry can't list the artifacts that refer to an image, clients store such an index under the tag
    `sha256-…`.
    """
    sbom = _add_artifact(folder, "application/spdx+json", subject=subject)
    return _write_layout(folder, _add_index(folder, [sbom]))


def described(layout: Path) -> Descriptor:
    """Return the descriptor of a layout's manifest."""
    (descriptor,) = json.loads((layout / "index.json").read_text())["manifests"]
    return descriptor


def digest(layout: Path, architecture: str | None = None) -> str:
    """Return the digest of a layout's manifest, or of the image that its index lists for the architecture."""
    top = described(layout)["digest"]
    if architecture is None:
        return top
    index = json.loads(_blob(layout, top).read_text())
    return platform_digest(index, architecture)


def platform_digest(index: dict[str, Any], architecture: str) -> str:
    """Return the digest of the image that an index lists for the architecture."""
    (image,) = (row for row in index["manifests"] if row["platform"]["architecture"] == architecture)
    return image["digest"]


def _blob(folder: Path, digest: str) -> Path:
    return folder / "blobs" / Path(*digest.split(":"))


def _add(folder: Path, media_type: str, content: bytes | dict[str, Any]) -> Descriptor:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    blob = _blob(folder, digest)
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(data)
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def _add_manifest(folder: Path, config: Descriptor, layer: Descriptor, **members: Any) -> Descriptor:
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer], **members}
    return _add(folder, MANIFEST, manifest)


def _add_image(folder: Path, architecture: str) -> Descriptor:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty-file"))
    unpacked = hashlib.sha256(archive.getvalue()).hexdigest()
    layer = _add(
        folder,
        "application/vnd.oci.image.layer.v1.tar+gzip",
        gzip.compress(archive.getvalue(), mtime=0),
    )
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{unpacked}"]}
    settings = {"architecture": architecture, "os": "linux", "config": {}, "rootfs": rootfs}
    config = _add(folder, "application/vnd.oci.image.config.v1+json", settings)
    return _add_manifest(folder, config, layer)


def _add_artifact(folder: Path, media_type: str, **members: Any) -> Descriptor:
    config = _add(folder, "application/vnd.oci.image.config.v1+json", {})
    return _add_manifest(folder, config, _add(folder, media_type, b"{}"), **members)


def _add_index(folder: Path, manifests: list[Descriptor]) -> Descriptor:
    return _add(folder, INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})


def _write_layout(folder: Path, descriptor: Descriptor) -> Path:
    index = {"schemaVersion": 2, "manifests": [descriptor]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder
