"""The addresses for monitors: whether everything works, and metrics for Prometheus."""

from __future__ import annotations

from threading import Lock

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import translation
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0
from rest_framework.exceptions import AuthenticationFailed

from activity.health.findings import State
from activity.health.report import Result, create_report, worst_state
from activity.views.metrics import HealthCollector
from repositories.access.resolving import Access
from repositories.accounts.authentication import TokenAuthentication


class LatestReport:
    """The report of the checks. However many requests arrive, each process checks once at a time."""

    def __init__(self) -> None:
        self._checking = Lock()
        self._results: list[Result] = []

    def get(self) -> list[Result]:
        """Execute the checks, or return the previous results while another request executes them."""
        if not self._checking.acquire(blocking=not self._results):
            return self._results
        try:
            with translation.override(None):  # what programs read is in English
                self._results = create_report()
            return self._results
        finally:
            self._checking.release()


latest = LatestReport()


@login_not_required
@require_safe
def health_status(request: HttpRequest) -> HttpResponse:
    """Answer with 200, or with 503 if a check has found an error. Only MSR admins and auditors see which."""
    results = latest.get()
    state = worst_state(results)
    content: dict[str, object] = {"status": state.label}
    if _may_see_details(request):
        content["checks"] = {
            result.check.name: {
                "status": result.state.label,
                "findings": [finding.text for finding in result.findings],
            }
            for result in results
        }
    return JsonResponse(content, status=503 if state == State.ERROR else 200)


@login_not_required
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Return metrics for Prometheus, which sends the access token of an MSR admin or auditor."""
    if not _may_see_details(request):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    registry = CollectorRegistry()
    registry.register(HealthCollector(latest.get()))
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_1_0_0)


def _may_see_details(request: HttpRequest) -> bool:
    user = request.user
    if not user.is_authenticated:
        try:
            found = TokenAuthentication().authenticate(request)
        except AuthenticationFailed:
            return False
        if found is None:
            return False
        user = found[0]
    return Access.for_user(user).sees_everything
