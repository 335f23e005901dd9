"""Registry messages for the benchmarks, made from the messages that real registries sent for real clients.

A message has the same keys, media types and user agents as a captured one. Its repository, tag, digest, user,
address, time and ids are replaced, and the version in the user agent varies.
"""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from ipaddress import IPv4Address
from typing import Any
from uuid import UUID

from tests.capture_files import FOLDER

PUSH, PULL, PULL_BY_DIGEST, HEAD, LAYER, DELETE = "push", "pull", "pull by digest", "HEAD", "layer", "delete"
VERSIONS = [f"{major}.{minor}" for major in range(18, 29) for minor in range(0, 12, 3)]
NETWORK = int(IPv4Address("10.0.0.0"))
CONTENT_TYPE = "application/vnd.docker.distribution.events.v1+json"


def fill(kind: str, rng: random.Random, moment: datetime, **values: str) -> bytes:
    """Return a message. `values` are its `repository`, `tag`, `digest` and `actor`."""
    template = rng.choice(templates()[kind])
    address, port = IPv4Address(NETWORK + rng.randrange(500_000)), rng.randrange(30_000, 60_000)
    return (
        template
        % {
            "id": _uuid(rng),
            "request": _uuid(rng),
            "timestamp": moment.isoformat(),
            "address": f"{address}:{port}",
            "version": rng.choice(VERSIONS),
            **values,
        }
    ).encode()


def requests(
    path: str, headers: dict[str, str], kind: str, repositories: list[str], rng: random.Random
) -> Iterator[bytes]:
    """Yield HTTP requests that deliver new messages of one kind, without end, and at little cost.

    A request is filled in from one of 500 prepared ones, so that the client needs hardly any time of its own.
    """
    prepared = [_prepare(path, headers, kind, rng.choice(repositories), rng) for _ in range(500)]
    number = rng.getrandbits(64) << 60
    while True:
        for template in prepared:
            number += 1
            yield template % {
                b"id": b"%08x-0000-4000-8000-%012x" % (number >> 48 & 0xFFFFFFFF, number & 0xFFFFFFFFFFFF),
                b"request": b"00000000-0000-4000-9000-%012x" % (number & 0xFFFFFFFFFFFF),
                b"timestamp": datetime.now(UTC).isoformat(timespec="microseconds").encode(),
                b"digest": b"sha256:%064x" % number,
            }


def _prepare(path: str, headers: dict[str, str], kind: str, repository: str, rng: random.Random) -> bytes:
    digest = f"sha256:{rng.getrandbits(256):064x}"
    later = {name: f"%({name})s" for name in ("id", "request", "timestamp")}
    if kind == PUSH:
        later["digest"] = "%(digest)s"  # each push has a new manifest, whereas a manifest is pulled often
    values = {"digest": digest, "tag": f"v{rng.randrange(40)}", "actor": person(rng), **later}
    body = fill(kind, rng, datetime.now(UTC), repository=repository, **values)
    lengths = {"id": 36, "request": 36, "timestamp": 32, "digest": len(digest)}
    size = len(body) + sum(
        lengths[name] - len(text) for name, text in later.items() for _ in range(body.count(text.encode()))
    )
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    head = "\r\n".join([*lines, f"Content-Type: {CONTENT_TYPE}", f"Content-Length: {size}", "", ""])
    return head.encode() + body


def person(rng: random.Random) -> str:
    """Return the name of a user. A few users are much busier than the others."""
    return f"person-{min(int(rng.paretovariate(0.6)), 5_000)}"


def _uuid(rng: random.Random) -> str:
    return str(UUID(int=rng.getrandbits(128), version=4))


@cache
def templates() -> dict[str, list[str]]:
    """Return the captured messages by kind, as templates for the `%` operator."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((FOLDER / "clients").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            for notification in json.loads(line)["events"]:
                if kind := _kind_of(notification):
                    found[kind].append(_template(notification))
    return found


def _kind_of(notification: dict[str, Any]) -> str | None:
    target, method = notification["target"], notification["request"].get("method")
    if target.get("mediaType") == "application/octet-stream":
        return LAYER if notification["action"] in ("push", "pull") else None
    by_tag = "tag" in target
    kinds = {
        ("push", "PUT", True): PUSH,
        ("pull", "GET", True): PULL,
        ("pull", "GET", False): PULL_BY_DIGEST,
        ("pull", "HEAD", True): HEAD,
        ("delete", "DELETE", True): DELETE,
    }
    return kinds.get((notification["action"], method, by_tag))


def _template(notification: dict[str, Any]) -> str:
    target, request = notification["target"], notification["request"]
    old = {"repository": target["repository"], "digest": target.get("digest", "")}
    target |= {name: f"«{name}»" for name in ("repository", "tag", "digest") if name in target}
    for name, value in old.items():
        if value and "url" in target:
            target["url"] = target["url"].replace(value, f"«{name}»")
    agent = re.sub(r"\d+\.\d+", "«version»", request.get("useragent", ""), count=1)
    request |= {"id": "«request»", "addr": "«address»", "useragent": agent}
    notification |= {"id": "«id»", "timestamp": "«timestamp»", "actor": {"name": "«actor»"}}
    text = json.dumps({"events": [notification]}, separators=(",", ":"), ensure_ascii=False)
    return re.sub("«(.*?)»", r"%(\1)s", text.replace("%", "%%"))
