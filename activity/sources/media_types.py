"""The media types of manifests, and of the layers and configurations that manifests refer to."""

INDEX_TYPES = frozenset(
    {
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.index.v1+json",
    }
)
MANIFEST_TYPES = INDEX_TYPES | {
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.artifact.manifest.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
}
BLOB_TYPES = frozenset(
    {
        "application/octet-stream",
        # Docker images and plugins
        "application/vnd.docker.container.image.rootfs.diff+x-gtar",
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.docker.plugin.v1+json",
        # OCI images and artifacts
        "application/vnd.oci.empty.v1+json",
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        "application/vnd.oci.scratch.v1+json",
        "application/vnd.unknown.config.v1+json",
        # Helm
        "application/tar+gzip",
        "application/vnd.cncf.helm.chart.content.layer.v1+tar",
        "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
        "application/vnd.cncf.helm.chart.provenance.v1.prov",
        "application/vnd.cncf.helm.config.v1+json",
        # Flux
        "application/vnd.cncf.flux.config.v1+json",
        "application/vnd.cncf.flux.content.v1.tar+gzip",
        # signatures, attestations and SBOMs
        "application/spdx+json",
        "application/vnd.cyclonedx",
        "application/vnd.cyclonedx+json",
        "application/vnd.cyclonedx+xml",
        "application/vnd.dev.cosign.simplesigning.v1+json",
        "application/vnd.dsse.envelope.v1+json",
        "application/vnd.in-toto+json",
        "text/spdx",
        "text/spdx+json",
        # others
        "application/vnd.buildkit.cacheconfig.v0",
        "application/vnd.cncf.openpolicyagent.config.v1+json",
        "application/vnd.cncf.openpolicyagent.manifest.layer.v1+json",
        "application/vnd.cncf.openpolicyagent.policy.layer.v1+rego",
        "application/vnd.sylabs.sif.layer.v1.sif",
        "application/vnd.wasm.config.v0+json",
        "application/vnd.wasm.config.v1+json",
        "application/vnd.wasm.content.layer.v1+wasm",
        "application/wasm",
    }
)
"""The types of layers and configurations, which are not recorded."""


def normalize(media_type: str) -> str:
    """Return a media type without parameters and in lowercase, for comparisons (RFC 9110, section 8.3.1)."""
    return media_type.partition(";")[0].strip().lower()
