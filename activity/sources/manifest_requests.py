"""Finds the tag that was pulled when a client requests a manifest by its digest.

To pull `name:tag`, most clients send a HEAD request for the tag, and within seconds a GET request for the
digest in the response. The GET request doesn't contain the tag. If the tag points to an index, the client
then requests the manifest of its platform by digest. These requests are one pull.

So each HEAD and GET request for a manifest is kept for an hour, and a GET request by digest is compared with
the client's requests in the minute before it. Only the times of the requests count, because messages can be
delivered late, and all at once. The newest request that named the digest decides:

- HEAD of a tag: the tag was pulled.
- HEAD of a digest: the manifest was pulled, whatever tag points to it.
- GET of an index that refers to the digest: the manifest is a part of the pull of the index.
- GET with the same request id: likewise. A registry that converts an index for an old client reports both.

If no request named the digest, and the client's last request was a HEAD of a tag that returned an index, at
most five seconds earlier, then the tag was pulled: the client had the index already, and needed only the
manifest of another platform. This doesn't apply if the registry reports the references of the index, and the
digest is not among them.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from activity.identity import by_number, first_id, last_id, moment_of
from activity.models import ManifestRequest
from activity.recording.drafts import Draft
from activity.storage.rows import build, insert_rows

PULL_WINDOW = timedelta(minutes=1)
"""The maximum time between the first and the last request of a pull."""
PLATFORM_WINDOW = timedelta(seconds=5)
"""The maximum time between the HEAD of a tag and the GET of a manifest that its index refers to."""
KEPT_FOR = timedelta(hours=1)
"""How long requests are kept after they were received. Nodes of a registry can deliver at different times."""
MAX_EXPIRED = 20_000
"""The number of expired requests to delete at once."""
MAX_FOUND = 100
"""The maximum number of GET requests by digest per message whose tag is looked for.

Registries report one request per message.
"""
MAX_READ = 10_000
"""The maximum number of earlier requests to read at once. The newest are read."""


@dataclass(frozen=True)
class Request:
    """A client's HEAD or GET request for a manifest."""

    draft: Draft
    """The draft of a pull. A HEAD request isn't a pull, so its draft isn't recorded."""
    is_head: bool
    is_index: bool
    references: tuple[str, ...]
    """The digests of the manifests that the index refers to, if the registry sends them."""
    request_id: str

    @property
    def asks_for_tag(self) -> bool:
        """Whether the request only asks what a tag points to."""
        return self.is_head and bool(self.draft.tag)

    def row(self) -> ManifestRequest:
        id = self.draft.event_id
        return build(
            ManifestRequest,
            id=id,
            client=self._client(),
            request_id=_hash(self.request_id) if self.request_id else "",
            is_head=self.is_head,
            is_index=self.is_index,
            tag=self.draft.tag,
            digest=self.draft.digest,
            references=" ".join(self.references),
            pull=None if self.is_head else id,
        )

    def _client(self) -> str:
        draft = self.draft
        return _hash(
            draft.delivery.account_id,
            draft.repository_name,
            draft.actor_type,
            draft.actor_name,
            draft.details.get("user_agent"),
            draft.details.get("client_address"),
        )


class Requests:
    """The requests of some clients: those that are stored already, and new ones."""

    def __init__(self, stored: Iterable[ManifestRequest] = ()) -> None:
        self.new: dict[UUID, ManifestRequest] = {}
        self.ids: set[tuple[str, UUID]] = set()
        self.sorted: dict[tuple[str, ...], list[ManifestRequest]] = defaultdict(list)
        """Requests sorted by id, by client, and by what else they are looked up by."""
        for row in stored:
            self._add(row)

    def add(self, row: ManifestRequest) -> None:
        """Add a request, unless it is known already because its message has been redelivered."""
        if (row.client, row.id) not in self.ids:
            self._add(row)
            self.new[row.id] = row

    def _add(self, row: ManifestRequest) -> None:
        self.ids.add((row.client, row.id))
        lookups = [(), *(("digest", digest) for digest in row.references.split())]
        if row.is_head:
            lookups.append(("digest", row.digest))
        if row.request_id:
            lookups.append(("HEAD" if row.is_head else "GET", row.request_id))
        for lookup in lookups:
            insort(self.sorted[row.client, *lookup], row, key=_number)

    def newest(self, row: ManifestRequest, since: datetime, *lookup: str) -> ManifestRequest | None:
        """Return the client's newest request before a GET request, or a HEAD request at the same time."""
        found = self.sorted.get((row.client, *lookup), ())
        first, last = first_id(since), last_id(row.id)
        for index in reversed(range(bisect_right(found, last.int, key=_number))):
            if found[index].id < first:
                return None
            if found[index].id < row.id or found[index].is_head:
                return found[index]
        return None

    def tag_of_same_request(self, row: ManifestRequest) -> str:
        """Return the tag of a HEAD request whose other part has no tag, or an empty string.

        A registry that converts an index for an old client reports a HEAD of the tag, and one of the
        manifest.
        """
        if not row.is_head or not row.request_id:
            return ""
        others = self.sorted.get((row.client, "HEAD", row.request_id), ())
        return next((other.tag for other in others if other.tag), "")


def _number(row: ManifestRequest) -> int:
    return row.id.int


def resolve(messages: Sequence[Sequence[Request]]) -> list[list[Draft]]:
    """Store the requests of messages, and return drafts for the GET requests of each message.

    The draft is a pull of a tag, or of a manifest. A request is related to those of the same message and of
    earlier ones. Call this in the transaction that records the drafts.
    """
    pairs = [[(request.row(), request.draft) for request in requests] for requests in messages]
    known = _read([row for row, _ in chain.from_iterable(pairs) if _is_get_by_digest(row)])
    resolved = [_resolve_message(sorted(rows, key=lambda pair: pair[0].id), known) for rows in pairs]
    # Sorted, so that two messages can't deadlock.
    insert_rows([known.new[id] for id in sorted(known.new, key=by_number)], "ON CONFLICT DO NOTHING")
    return resolved


def _is_get_by_digest(row: ManifestRequest) -> bool:
    return not row.is_head and not row.tag


def _read(rows: Sequence[ManifestRequest]) -> Requests:
    """Return the stored requests that can decide what GET requests by digest have pulled."""
    if not rows:
        return Requests()
    ids = [row.id for row in rows]
    stored = ManifestRequest.objects.filter(
        client__in={row.client for row in rows},
        id__gte=first_id(moment_of(min(ids)) - PULL_WINDOW),
        id__lte=last_id(max(ids)),
    )
    return Requests(stored.order_by("-id")[:MAX_READ])


def _resolve_message(pairs: Sequence[tuple[ManifestRequest, Draft]], known: Requests) -> list[Draft]:
    by_digest = [(row, draft) for row, draft in pairs if _is_get_by_digest(row)][:MAX_FOUND]
    resolved = {row.id for row, _ in by_digest}
    for row, _ in pairs:
        if row.id not in resolved:
            known.add(row)
    found = {row.id: _resolve(row, draft, known) for row, draft in by_digest}
    return [found.get(row.id, draft) for row, draft in pairs if not row.is_head]


def _resolve(row: ManifestRequest, draft: Draft, known: Requests) -> Draft:
    """Return the draft of a GET request by digest with the tag and the pull that it belongs to."""
    earlier, is_named = _find_deciding_request(row, draft, known)
    if earlier is None:
        known.add(row)
        return draft
    row.tag = earlier.tag or known.tag_of_same_request(earlier)
    if not earlier.is_head:
        row.pull = earlier.pull
    # No later request can belong to this one, unless it was of an index. But if the digest wasn't named, the
    # HEAD of the tag was for this request only.
    if row.is_index or not is_named:
        known.add(row)
    if not earlier.is_head:
        return draft.changed(tag=row.tag, pull=row.pull)
    return draft.changed(kind="get_tag", tag=row.tag) if row.tag else draft


def _find_deciding_request(
    row: ManifestRequest, draft: Draft, known: Requests
) -> tuple[ManifestRequest | None, bool]:
    """Return the request that decides which tag a GET request by digest has pulled, or None.

    Also return whether that request named the digest.
    """
    since = draft.occurred_at - PULL_WINDOW
    named = known.newest(row, since, "digest", row.digest)
    same = known.newest(row, since, "GET", row.request_id) if row.request_id else None
    if found := max(filter(None, (named, same)), key=_number, default=None):
        return found, True
    # If none named the digest, the client's last request decides.
    found = known.newest(row, since)
    had_index = found and found.is_head and found.tag and found.is_index and not found.references
    is_recent = found and found.id >= first_id(draft.occurred_at - PLATFORM_WINDOW)
    return (found if had_index and is_recent else None), False


@transaction.atomic
def delete_expired() -> int:
    """Delete up to `MAX_EXPIRED` requests that were received more than an hour ago, and return how many."""
    expired = ManifestRequest.objects.filter(received_at__lt=timezone.now() - KEPT_FOR)
    expired = expired.order_by("received_at")
    if connection.features.has_select_for_update_skip_locked:
        expired = expired.select_for_update(skip_locked=True)  # another transaction may be deleting
    deleted, _ = ManifestRequest.objects.filter(pk__in=expired.values("pk")[:MAX_EXPIRED]).delete()
    return deleted


def _hash(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()
