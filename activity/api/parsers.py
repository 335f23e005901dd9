"""Reads request bodies, including chunked ones, in bounded memory."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

CHUNK = 64 * 1024
MAX_SIZE = 16 * 1024 * 1024


class TooLarge(APIException):
    """The body of a request is too large."""

    status_code = 413


def read_body(request: HttpRequest, max_size: int, truncate_to: int = 0) -> tuple[bytes, int]:
    """Return the body and its size in bytes.

    A body larger than `max_size` is truncated to `truncate_to` bytes, but its full size is returned. The web
    server may have kept only the beginning of it.
    """
    # Django treats a chunked body as empty, so read it from the web server if the server marks its end.
    environ = request.META
    stream = environ["wsgi.input"] if environ.get("wsgi.input_terminated") else request
    parts: list[bytes] = []
    size = 0
    while chunk := stream.read(CHUNK):
        size += len(chunk)
        if size <= max_size:
            parts.append(chunk)
        else:
            del parts[truncate_to // CHUNK :]
    size = max(size, int(environ.get("CONTENT_LENGTH") or 0))
    body = b"".join(parts)
    return (body if size <= max_size else body[:truncate_to]), size


class JSONParser(BaseParser):
    """Parses a JSON body of any shape, up to `MAX_SIZE` bytes."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        return parse_json((parser_context or {})["request"])


def parse_json(request: Request) -> Any:
    """Return the parsed body of a request. Raises ParseError if it isn't valid, and TooLarge."""
    body, size = read_body(request._request, MAX_SIZE)
    if size > MAX_SIZE:
        raise TooLarge(_("The request body is larger than %(size)s bytes.") % {"size": MAX_SIZE})
    try:
        return json.loads(body, parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise ParseError(_("JSON parse error - %(error)s") % {"error": error}) from error


def _reject_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not valid JSON")
