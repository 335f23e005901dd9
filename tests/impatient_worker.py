"""A worker process of the web server with short time limits, and an address that answers only when told to.

`GUNICORN_CMD_ARGS="--worker-class tests.impatient_worker.Worker"` selects it.
"""

import os
from collections.abc import Iterable
from typing import Any

from msr_project.server import connections, worker

SECONDS = 2
MAX_CONNECTIONS = 50
ARGUMENTS = "--workers 1 --worker-class tests.impatient_worker.Worker"
GATE = "GATE"
"""The environment variable with the path of a FIFO. Requests for `/wait/` are answered when it is opened."""

connections.HEADER_SECONDS = connections.BODY_SECONDS = connections.STALL_SECONDS = SECONDS
connections.MAX_CONNECTIONS = int(os.environ.get("MAX_CONNECTIONS", connections.MAX_CONNECTIONS))


class Worker(worker.Worker):
    wsgi: worker.Application

    def load_wsgi(self) -> None:
        super().load_wsgi()
        django = self.wsgi

        def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            if environ["PATH_INFO"] != "/wait/":
                return django(environ, start_response)
            with open(os.environ[GATE]):
                start_response("200 OK", [("Content-Length", "0")])
                return []

        self.wsgi = application
