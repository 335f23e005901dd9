"""The current user is known only while a request is served, both for sessions and for tokens."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.http import HttpResponse
from django.test import Client, RequestFactory
from rest_framework.views import APIView

from activity.api import views
from repositories.accounts import current_request
from repositories.models import AccessToken
from tests import factories


def serve(request: Any) -> dict[str, Any]:
    """Serve a request, and return the values that `current_request` provides to the view."""
    seen: dict[str, Any] = {}

    def view(request: Any) -> HttpResponse:
        seen.update(
            actor=current_request.user(), serving=current_request.exists(), **current_request.client_details()
        )
        return HttpResponse()

    current_request.CurrentRequestMiddleware(view)(request)
    return seen


def test_concurrent_requests_have_separate_actors(rf: RequestFactory) -> None:
    both = Barrier(2)  # makes each view wait until the other request is being served

    def serve_as(name: str) -> str:
        def view(request: Any) -> HttpResponse:
            both.wait(timeout=10)
            return HttpResponse(current_request.user().username)

        request = rf.get("/")
        request.user = factories.UserFactory.build(username=name)
        return current_request.CurrentRequestMiddleware(view)(request).content.decode()

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(serve_as, ["ann", "ben"])) == ["ann", "ben"]


def test_current_request_is_cleared_when_the_view_raises(rf: RequestFactory) -> None:
    def view(request: Any) -> HttpResponse:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        current_request.CurrentRequestMiddleware(view)(rf.get("/"))

    assert not current_request.exists()


def test_concurrent_asynchronous_requests_have_separate_actors(rf: RequestFactory) -> None:
    async def view(request: Any) -> HttpResponse:
        await asyncio.sleep(0)  # lets the other request begin
        user = await sync_to_async(current_request.user)()
        return HttpResponse(user.username)

    async def serve_both() -> list[str]:
        middleware = current_request.CurrentRequestMiddleware(view)
        requests = [rf.get("/") for _ in range(2)]
        for request, name in zip(requests, ["ann", "ben"], strict=True):
            request.user = factories.UserFactory.build(username=name)
        return [response.content.decode() for response in await asyncio.gather(*map(middleware, requests))]

    assert current_request.CurrentRequestMiddleware.async_capable
    assert asyncio.run(serve_both()) == ["ann", "ben"]
    assert not current_request.exists()


def test_there_is_no_actor_outside_of_a_request() -> None:
    assert (current_request.user(), current_request.client_details(), current_request.exists()) == (
        None,
        {},
        False,
    )


def test_client_details_come_from_the_request(rf: RequestFactory) -> None:
    request = rf.get("/", headers={"User-Agent": "curl/8\0"}, REMOTE_ADDR="10.0.0.7")
    request.user = AnonymousUser()

    assert serve(request) == {
        "actor": None,
        "serving": True,
        "client_address": "10.0.0.7",
        "user_agent": "curl/8�",
    }
    assert not current_request.exists()


@pytest.mark.parametrize("by_token", [True, False])
def test_actor_is_known_by_session_and_by_token(
    log_in: Any, monkeypatch: pytest.MonkeyPatch, by_token: bool
) -> None:
    user = factories.UserFactory()
    seen, tokens = [], []

    def get(self: APIView, request: Any) -> HttpResponse:
        seen.append(current_request.user())
        tokens.append(current_request.client_details().get("access_token"))
        return HttpResponse()

    monkeypatch.setattr(views.RepositoryListView, "get", get)
    client = Client(headers=factories.bearer(user, name="CI")) if by_token else log_in(user)
    client.get("/api/v0/repositories/")

    assert seen == [user]
    label = AccessToken.objects.get().label if by_token else None
    assert tokens == [label]
    assert label is None or label.startswith("CI (")
    assert current_request.user() is None
