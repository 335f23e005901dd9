"""The grammar of repository names, tags and digests.

Source: the reference grammar of CNCF Distribution, https://github.com/distribution/reference
"""

import re
import unicodedata

from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

LIBRARY = "_"
"""The placeholder stored as the namespace of repositories like `alpine`, whose names have no namespace.

No registry can report the placeholder as a name, because name components start with a letter or a digit.
"""

RESERVED = frozenset({LIBRARY, "anonymous"})
"""Names that no user and no organization may have. `anonymous` is the label of users who aren't logged in."""

MAX_NAME_LENGTH = 255
MAX_TAG_LENGTH = 128
MAX_DIGEST_LENGTH = 255
MAX_REFERENCE_LENGTH = 2 * MAX_NAME_LENGTH + MAX_TAG_LENGTH + MAX_DIGEST_LENGTH
"""The maximum length of a reference with a host, a name, a tag and a digest."""

COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
PATH = rf"{COMPONENT}(?:/{COMPONENT})*"
_HOST_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
# If a name has several components, the first one may also be a host, with capitals and a port: `Acme/web`,
# `mirror.example.com:5000/alpine`. Clients remove a host before they send a name, but registries accept it.
_HOST = rf"(?:{_HOST_LABEL}(?:\.{_HOST_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?"
NAMESPACE = rf"{_HOST}|{COMPONENT}"
NAME = rf"(?:{_HOST}/)?{PATH}"
TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_NAME, _TAG, _DIGEST = re.compile(NAME), re.compile(TAG), re.compile(DIGEST)

# The names of attachments: `sha256-<hex>` is the list of an image's referrers in registries that have no API
# for it, and cosign uses `sha256-<hex>.sig` etc. The specification of OCI limits the digest to 64 hex digits.
_ATTACHMENT = re.compile(r"(sha256|sha384|sha512)-([0-9a-f]+)((?:\.[A-Za-z0-9_.-]+)?)")
_LONG_TAG = re.compile(r"^(sha\d{3}-[0-9a-f]{8})[0-9a-f]{56,}")
_SCHEME = re.compile(r"(?:https?|docker|oci)://")
_HEX_LENGTHS = {"sha256": {64}, "sha384": {64, 96}, "sha512": {64, 128}}
_ATTACHMENT_KINDS = {
    "": _("Referrers"),
    ".sig": _("Signature"),
    ".att": _("Attestation"),
    ".sbom": _("SBOM"),
}
DIGEST_STEM_LENGTH = len("sha256:") + 64


def is_name(text: str) -> bool:
    """Return whether `text` is a valid full name of a repository, e.g. `acme/team/web`."""
    return len(text) <= MAX_NAME_LENGTH and _NAME.fullmatch(text) is not None


def is_namespace(text: str) -> bool:
    """Return whether `text` can be the first component of a full name, e.g. `acme` or `Acme`."""
    return len(text) <= MAX_NAME_LENGTH and re.fullmatch(NAMESPACE, text) is not None


def is_path(text: str) -> bool:
    """Return whether `text` can follow the namespace in a full name, e.g. `team/web`."""
    return len(text) <= MAX_NAME_LENGTH and re.fullmatch(PATH, text) is not None


def is_reserved(name: str) -> bool:
    """Return whether no user or organization may have a name, regardless of how its letters are written."""
    return unicodedata.normalize("NFKC", name).casefold() in RESERVED


def is_tag(text: str) -> bool:
    """Return whether `text` is a valid tag, e.g. `v1.2`."""
    return len(text) <= MAX_TAG_LENGTH and _TAG.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Return whether `text` is a valid digest, e.g. `sha256:bbf0…`."""
    return len(text) <= MAX_DIGEST_LENGTH and _DIGEST.fullmatch(text) is not None


def split_name(full_name: str) -> tuple[str, str]:
    """Split a full name into namespace and name: `acme/team/web` becomes `acme` and `team/web`."""
    namespace, slash, name = full_name.partition("/")
    return (namespace, name) if slash else (LIBRARY, full_name)


def split_reference(reference: str) -> tuple[str, str]:
    """Split a reference into full name and tag: `acme/web:v1` becomes `acme/web` and `v1`.

    The tag is empty if there is none, as in `acme/web` and `localhost:5000/web`.
    """
    name, _, tag = reference.rpartition(":")
    return (name, tag) if is_name(name) and is_tag(tag) and not is_name(reference) else (reference, "")


def split_digest(reference: str) -> tuple[str, str]:
    """Split off a digest: `acme/web:v1@sha256:bbf0…` becomes `acme/web:v1` and `sha256:bbf0…`.

    The digest is empty if there is none.
    """
    name, at, digest = reference.partition("@")
    return (name, digest) if at and ":" in digest else (reference, "")


def without_scheme(reference: str) -> str:
    """Return a reference without what some tools write before it, such as `docker://`."""
    return _SCHEME.sub("", reference, count=1)


def without_host(name: str) -> str:
    """Return a full name without a host: `localhost:5000/acme/web` becomes `acme/web`."""
    host, slash, rest = name.partition("/")
    return rest if slash and (host == "localhost" or re.search(r"[.:]", host)) else name


def name_in(reference: str) -> str:
    """Return the name of a repository in a reference that was copied from elsewhere.

    `registry.example.com/acme/web:v1@sha256:bbf0…` becomes `acme/web`. Other text is returned as it is.
    """
    return without_host(split_reference(split_digest(without_scheme(reference.strip()))[0])[0])


def join_name(namespace: str, name: str) -> str:
    """Join namespace and name into the full name that the registry uses: `_` and `alpine` become `alpine`."""
    return name if namespace == LIBRARY else f"{namespace}/{name}"


def image_of_tag(tag: str) -> str:
    """Return the digest stem of the image that a tag belongs to by its name, or an empty string.

    For example, `sha256-bbf0….sig` belongs to the image with the digest `sha256:bbf0…`.
    """
    match = _ATTACHMENT.fullmatch(tag)
    if match is None or len(match[2]) not in _HEX_LENGTHS[match[1]]:
        return ""
    return digest_stem(f"{match[1]}:{match[2]}")


def short_tag(tag: str) -> str:
    """Return a tag with only eight digits of the digest that it contains: `sha256-09ab37c1….sig`."""
    return _LONG_TAG.sub(r"\1…", tag)


def digest_stem(digest: str) -> str:
    """Return the part of a digest that names of attachments contain: the algorithm and 64 hex digits."""
    return digest[:DIGEST_STEM_LENGTH]


def is_attachment(tag: str, digest: str) -> bool:
    """Return whether a tag that points to `digest` is attached to another image, e.g. as its signature.

    A tag that is named after the image that it points to is not an attachment. Such tags are made by imgpkg.
    """
    return image_of_tag(tag) not in ("", digest_stem(digest))


def attachment_kind(tag: str) -> str | Promise:
    """Return in words what kind of attachment a tag is by its name, e.g. `Signature` or `Attachment .vex`."""
    match = _ATTACHMENT.fullmatch(tag)
    if match is None:
        return ""
    return _ATTACHMENT_KINDS.get(match[3]) or format_lazy(_("Attachment {suffix}"), suffix=match[3])


def short_digest(digest: str) -> str:
    """Return a digest's algorithm and its first eight hex digits, e.g. `sha256:bbf09ba3`."""
    algorithm, colon, hexadecimal = digest.partition(":")
    return f"{algorithm}{colon}{hexadecimal[:8]}"
