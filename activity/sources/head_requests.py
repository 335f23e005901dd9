"""Remembers look-ups (HEAD) of tags, so that a pull by digest can be shown with its tag.

A Docker client pulls `name:tag` by a HEAD on the tag, then a GET by digest that names no tag, from
the same address within seconds. The memory is a cache shared by all processes. It is best effort:
without it a pull is recorded just the same, as one of a manifest instead of one of a tag.
"""

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from django.core.cache import cache

logger = logging.getLogger(__name__)

REMEMBERED_FOR = 60
"""Seconds between a client's HEAD and its GET."""


@dataclass(frozen=True)
class Lookup:
    """What a HEAD and the GET that follows it have in common."""

    account_id: int
    repository_name: str
    digest: str
    client_host: str

    @property
    def key(self) -> str:
        parts = "\n".join([str(self.account_id), self.repository_name, self.digest, self.client_host])
        return "head:" + hashlib.sha256(parts.encode()).hexdigest()


def remember(tags: dict[Lookup, str]) -> None:
    """Remember which tag each look-up asked for."""
    if tags:
        try:
            cache.set_many({lookup.key: tag for lookup, tag in tags.items()}, REMEMBERED_FOR)
        except Exception:  # whatever ails the cache, recording goes on
            logger.warning("The cache is out of order: pulls may lack their tags.", exc_info=True)


def recall(lookups: Iterable[Lookup]) -> dict[Lookup, str]:
    """Return the tags of those look-ups that are remembered."""
    keys = {lookup.key: lookup for lookup in lookups}
    if not keys:
        return {}
    try:
        return {keys[key]: tag for key, tag in cache.get_many(keys).items()}
    except Exception:  # as above
        logger.warning("The cache is out of order: pulls may lack their tags.", exc_info=True)
        return {}
