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
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import BooleanField, Case, Q, QuerySet, Value, When
from django.utils import timezone

from activity.identity import first_id, last_id
from activity.models import ManifestRequest
from activity.recording.drafts import Draft
from activity.storage.rows import insert_rows

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

    def row(self, account_id: int) -> ManifestRequest:
        id = self.draft.event_id(account_id)
        return ManifestRequest(
            id=id,
            client=self._client(account_id),
            request_id=_hash(self.request_id) if self.request_id else "",
            is_head=self.is_head,
            is_index=self.is_index,
            tag=self.draft.tag,
            digest=self.draft.digest,
            references=" ".join(self.references),
            pull=None if self.is_head else id,
        )

    def _client(self, account_id: int) -> str:
        draft = self.draft
        return _hash(
            account_id,
            draft.repository_name,
            draft.actor_type,
            draft.actor_name,
            draft.details.get("user_agent"),
            draft.details.get("client_address"),
        )


def resolve(requests: Sequence[Request], account_id: int) -> list[Draft]:
    """Store requests, and return a draft for each GET request: a pull of a tag, or of a manifest.

    Call this in the transaction that records the drafts.
    """
    rows = sorted(
        ((request.row(account_id), request.draft) for request in requests), key=lambda pair: pair[0].id
    )
    by_digest = [(row, draft) for row, draft in rows if not row.is_head and not row.tag][:MAX_FOUND]
    resolved = {row.id for row, _ in by_digest}
    _store([row for row, _ in rows if row.id not in resolved])
    found = {row.id: _resolve(row, draft) for row, draft in by_digest}
    return [found.get(row.id, draft) for row, draft in rows if not row.is_head]


def _resolve(row: ManifestRequest, draft: Draft) -> Draft:
    """Return the draft of a GET request by digest with the tag and the pull that it belongs to."""
    earlier = _find_deciding_request(row, draft)
    if earlier is None:
        _store([row])
        return draft
    row.tag = earlier.tag or _tag_of_same_request(earlier)
    if not earlier.is_head:
        row.pull = earlier.pull
    # No later request can belong to this one, unless it was of an index. But if the digest wasn't named, the
    # HEAD of the tag was for this request only.
    if row.is_index or not earlier.named:
        _store([row])
    if not earlier.is_head:
        return replace(draft, tag=row.tag, pull=row.pull)
    return draft.with_kind("get_tag", tag=row.tag) if row.tag else draft


def _find_deciding_request(row: ManifestRequest, draft: Draft) -> Any:
    """Return the request that decides which tag a GET request by digest has pulled, or None.

    Its attribute `named` says whether it named the digest.
    """
    named = Q(is_head=True, digest=row.digest) | Q(references__contains=row.digest)
    if row.request_id:
        named |= Q(is_head=False, request_id=row.request_id)
    before = _requests_of(row).filter(
        Q(id__lt=row.id) | Q(id__lte=last_id(row.id), is_head=True),
        id__gte=first_id(draft.occurred_at - PULL_WINDOW),
    )
    # The newest request that named the digest, or else the client's last request, in one query.
    by_name = before.annotate(
        named=Case(When(named, then=Value(True)), default=False, output_field=BooleanField())
    )
    found = by_name.order_by("-named", "-id").first()
    if found is None or found.named:
        return found
    had_index = found.is_head and found.tag and found.is_index and not found.references
    return found if had_index and found.id >= first_id(draft.occurred_at - PLATFORM_WINDOW) else None


def _tag_of_same_request(row: ManifestRequest) -> str:
    """Return the tag of a HEAD request whose other part has no tag, or an empty string.

    A registry that converts an index for an old client reports a HEAD of the tag, and one of the manifest.
    """
    if not row.is_head or not row.request_id:
        return ""
    others = _requests_of(row).filter(is_head=True, request_id=row.request_id).exclude(tag="")
    return others.values_list("tag", flat=True).first() or ""


def _requests_of(row: ManifestRequest) -> QuerySet[ManifestRequest]:
    return ManifestRequest.objects.filter(client=row.client)


def _store(rows: Sequence[ManifestRequest]) -> None:
    insert_rows(rows, "ON CONFLICT DO NOTHING")


@transaction.atomic
def delete_expired() -> None:
    """Delete requests that were received more than an hour ago, up to `MAX_EXPIRED` of them."""
    expired = ManifestRequest.objects.filter(received_at__lt=timezone.now() - KEPT_FOR)
    expired = expired.order_by("received_at")
    if connection.features.has_select_for_update_skip_locked:
        expired = expired.select_for_update(skip_locked=True)  # another transaction may be deleting
    ManifestRequest.objects.filter(pk__in=expired.values("pk")[:MAX_EXPIRED]).delete()


def _hash(*values: object) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
