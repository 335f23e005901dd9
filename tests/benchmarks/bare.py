"""The simplest Django site that could receive notifications, to which the application is compared.

It has no middleware, and runs on the same web server, with the same database options. The `empty` view does
nothing; `raw` inserts the message into a table and commits; the others insert what Harbor, Quay and
django-auditlog store about it.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path

from msr_project import settings as project
from tests.benchmarks import peers

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES=project.DATABASES,
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "auditlog"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=project.SECRET_KEY,
    USE_TZ=True,
)


def answer(request: HttpRequest) -> HttpResponse:
    """Answer a delivery to `/api/v0/events?NAME` with the view of this name."""
    VIEWS[request.META["QUERY_STRING"]](request)
    return HttpResponse(headers={"Content-Length": "0"})  # otherwise, the server would close the connection


def empty(request: HttpRequest) -> None:
    pass


def raw(request: HttpRequest) -> None:
    _execute(peers.RAW.insert, {"body": request.body})


def harbor(request: HttpRequest) -> None:
    _execute(peers.HARBOR.insert, peers.values_of(request.body))


def quay(request: HttpRequest) -> None:
    _execute(peers.QUAY.insert, peers.values_of(request.body))


def auditlog(request: HttpRequest) -> None:
    from auditlog.models import LogEntry  # its models can't be imported before the apps are loaded

    values = peers.values_of(request.body)
    LogEntry.objects.create(
        content_type_id=1,
        object_pk="1",
        object_id=1,
        object_repr=values["reference"],
        action=LogEntry.Action.UPDATE,
        changes={"tag": ["None", values["reference"]]},
        actor_id=1,
        remote_addr=values["address"].rpartition(":")[0],
        additional_data={"metadata": values["metadata"]},
    )


def _execute(statement: str, params: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)


VIEWS = {view.__name__: view for view in (empty, raw, harbor, quay, auditlog)}
urlpatterns = [path(peers.PATH.removeprefix("/"), answer)]
application = get_wsgi_application()
