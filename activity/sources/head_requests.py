"""Caches HEAD requests for tags, so that a pull by digest can be recorded with its tag.

To pull `name:tag`, a Docker client sends a HEAD request for the tag. Within seconds, it sends a GET request
from the same address for the digest. The GET request doesn't contain the tag. All processes share the cache.
Finding the tag is best effort: if the cache is unavailable, the pull of the tag is recorded as a pull of a
manifest.
"""

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from django.core.cache import cache

logger = logging.getLogger(__name__)

TIMEOUT = 60
"""The maximum number of seconds between a client's HEAD and GET requests."""


@dataclass(frozen=True)
class HeadRequest:
    """The properties that a HEAD request and the following GET request have in common."""

    account_id: int
    repository_name: str
    digest: str
    client_host: str

    @property
    def key(self) -> str:
        parts = "\n".join([str(self.account_id), self.repository_name, self.digest, self.client_host])
        return "head:" + hashlib.sha256(parts.encode()).hexdigest()


def store_tags(tags: dict[HeadRequest, str]) -> None:
    """Cache the tag of each HEAD request."""
    if tags:
        try:
            cache.set_many({request.key: tag for request, tag in tags.items()}, TIMEOUT)
        except Exception:  # a cache failure must not prevent recording
            logger.warning(
                "The cache is unavailable, so pulls may be recorded without their tags.", exc_info=True
            )


def find_tags(requests: Iterable[HeadRequest]) -> dict[HeadRequest, str]:
    """Return the cached tags of the HEAD requests. Requests that aren't cached are left out."""
    keys = {request.key: request for request in requests}
    if not keys:
        return {}
    try:
        return {keys[key]: tag for key, tag in cache.get_many(keys).items()}
    except Exception:  # as in `store_tags`
        logger.warning(
            "The cache is unavailable, so pulls may be recorded without their tags.", exc_info=True
        )
        return {}
