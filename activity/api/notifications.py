"""The endpoint for registries, and the middleware that answers for it without any other middleware."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import NoReverseMatch, reverse
from django.utils.functional import cached_property
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.request import Request

from activity.api import problems, senders
from activity.api.base import WRITE, ApiView, document
from activity.api.parsers import read_body
from activity.api.serializers import ReceiptSerializer
from activity.sources import intake, notifications
from activity.sources.dead_letters import TRUNCATED_SIZE
from activity.sources.notifications import Receipt

ANY_BODY = {"description": "A message of a registry. Whatever can't be recorded becomes a dead letter."}
UNKNOWN: dict[str, int | None] = {"events": None, "dead_letters": None}


class RegistryNotificationView(ApiView):
    """Receive notifications from CNCF Distribution registries."""

    scopes = {"POST": WRITE}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Leave the checks of messages to `receive`."""
        if request.method != "POST":
            super().initial(request, *args, **kwargs)

    @document(
        request={"application/json": ANY_BODY},
        responses={status.HTTP_200_OK: ReceiptSerializer, status.HTTP_202_ACCEPTED: ReceiptSerializer},
    )
    def post(self, request: Request) -> HttpResponse:
        """Store a message.

        Responds with 202 once the message has been committed. It is recorded soon afterwards, as events or as
        dead letters. Responds with 200 if nothing is left to do: the message was only about layers, or the
        site records messages at once.
        """
        return receive(request._request)


class NotificationsMiddleware:
    """Answers registries before any other middleware runs, which takes several times as long as the answer.

    Put it first in `MIDDLEWARE`. Without it, notifications are recorded all the same.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.method == "POST" and request.path.rstrip("/") == self.path:
            request.get_host()  # raises an exception for a host name that isn't allowed
            try:
                response = receive(request)
            except Exception as error:
                response = problems.report(error, request)
            # Without a length, the web server would close the connection after each notification.
            response.headers["Content-Length"] = str(len(response.content))
            return response
        return self.get_response(request)

    @cached_property
    def path(self) -> str | None:
        """The path of the endpoint, without a slash at the end, or None if the site doesn't have it."""
        try:
            return reverse("registry_api:notifications").rstrip("/")
        except NoReverseMatch:
            return None


def receive(request: HttpRequest) -> HttpResponse:
    """Return the answer to a request that delivers a message."""
    try:
        sender = senders.authenticate(request)
    except APIException as error:
        return problems.refuse(error)
    body, size = read_body(request, notifications.MAX_SIZE, TRUNCATED_SIZE)
    receipt = intake.accept(body, sender.account_id, sender.token_key, size)
    if receipt is None:
        return JsonResponse(UNKNOWN, status=status.HTTP_202_ACCEPTED)
    return JsonResponse(_as_json(receipt))


def _as_json(receipt: Receipt) -> dict[str, int]:
    return {"events": receipt.events, "dead_letters": receipt.dead_letters}
