"""ETags and compression of responses.

An ETag is a hash of the content, so it depends on what the caller may see. A browser may store the response
under `no-cache`, which means that it must ask each time whether its copy is still what the caller may see.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from django.http import HttpResponseBase, HttpResponseNotModified
from django.middleware.gzip import GZipMiddleware
from django.utils.cache import patch_cache_control, patch_vary_headers
from django.utils.http import parse_etags
from rest_framework.response import Response

VARY = ("Accept-Encoding", "Authorization", "Cookie")
_gzip = GZipMiddleware(lambda request: HttpResponseNotModified())


def prepare(request: Any, response: HttpResponseBase, is_stored: bool) -> None:
    """Give the response to a GET request an ETag, and keep all other responses out of caches."""
    patch_vary_headers(response, VARY)
    is_reading = request.method in ("GET", "HEAD") and response.status_code == 200
    if is_stored and is_reading and isinstance(response, Response):
        response.add_post_render_callback(lambda rendered: _finish(request, rendered))
    else:
        patch_cache_control(response, private=True, no_store=True)


def _finish(request: Any, response: Any) -> Any:
    patch_cache_control(response, private=True, no_cache=True)
    tag = f'"{blake2b(response.content, digest_size=16).hexdigest()}"'
    # The tag is weak, because the compressed and the uncompressed content have the same one.
    response["ETag"] = f"W/{tag}"
    known = parse_etags(request.META.get("HTTP_IF_NONE_MATCH", ""))
    if any(each == "*" or each.removeprefix("W/") == tag for each in known):
        kept = {name: value for name, value in response.headers.items() if not name.startswith("Content-")}
        return HttpResponseNotModified(headers=kept)
    return _gzip.process_response(request, response)
