"""Requests for manifests, which are kept for a short time."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from repositories import names


class ManifestRequest(models.Model):
    """A client's recent HEAD or GET request for a manifest. See `activity.sources.manifest_requests`."""

    id = models.UUIDField(primary_key=True)
    """The id of the request's event. A HEAD request has no event, but an id of the same form."""
    client = models.CharField(max_length=64)
    """A hash of the account, repository, actor, user agent and host: one client's requests share it."""
    request_id = models.CharField(max_length=64)
    """A hash of the registry's id of the request, or empty if it is unknown.

    Registries can report several manifests for one request.
    """
    is_head = models.BooleanField()
    is_index = models.BooleanField()
    tag = models.CharField(max_length=names.MAX_TAG_LENGTH)
    """The requested tag, or the tag that was pulled."""
    digest = models.CharField(max_length=names.MAX_DIGEST_LENGTH)
    references = models.TextField()
    """The digests of the manifests that an index refers to, separated by spaces."""
    pull = models.UUIDField(null=True)
    """The id of the event of the pull that a GET request is part of."""
    received_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        default_permissions = ["view"]
        indexes = [models.Index(fields=["client", "id"], name="manifest_request_client")]

    def __str__(self) -> str:
        return f"{'HEAD' if self.is_head else 'GET'} {self.tag or self.digest}"
