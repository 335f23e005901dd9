"""Limits the requests that read, for each access token. Requests that record events aren't limited."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from repositories.accounts import throttling
from repositories.models import AccessToken


class ReadThrottle(BaseThrottle):
    """Allows as many requests that read as the `READS_PER_MINUTE` setting says."""

    def allow_request(self, request: Request, view: Any) -> bool:
        if request.method not in SAFE_METHODS or not isinstance(request.auth, AccessToken):
            return True
        view.allowance = throttling.count(request.auth)
        return view.allowance is None or not view.allowance.is_exceeded

    def wait(self) -> None:
        """Return nothing: `Retry-After` is one of the headers of the allowance."""
