"""The grammar of repository names, tags and digests.

Source: the CNCF Distribution reference grammar (`reference/reference.go`).
"""

import re

LIBRARY = "_"
"""The placeholder stored as the namespace of repositories like `alpine`, whose names have no namespace.

No registry can report the placeholder as a name, because name components start with a letter or a digit.
"""

MAX_NAME_LENGTH = 255
MAX_TAG_LENGTH = 128
MAX_DIGEST_LENGTH = 255

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")


def is_name(text: str) -> bool:
    """Return whether `text` is a valid full name of a repository, e.g. `acme/team/web`."""
    return len(text) <= MAX_NAME_LENGTH and _NAME.fullmatch(text) is not None


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


def join_name(namespace: str, name: str) -> str:
    """Join namespace and name into the full name that the registry uses: `_` and `alpine` become `alpine`."""
    return name if namespace == LIBRARY else f"{namespace}/{name}"


def short_digest(digest: str) -> str:
    """Return a digest's algorithm and its first eight hex digits, e.g. `sha256:bbf09ba3`."""
    algorithm, colon, hexadecimal = digest.partition(":")
    return f"{algorithm}{colon}{hexadecimal[:8]}"
