"""Keep the log short, whatever requests anybody sends."""

from __future__ import annotations

import logging
import time

from django.db import InterfaceError, OperationalError

MAX_LENGTH = 500
"""The maximum length of a message. Messages can contain the URL of a request."""
INTERVAL = 60
"""The minimum number of seconds between two messages about an unavailable database."""


class BriefFilter(logging.Filter):
    """Truncates messages. While the database is unavailable, lets one line a minute through.

    Without this filter, every request during an outage would log a traceback of a hundred lines.
    """

    def __init__(self) -> None:
        super().__init__()
        self.last_outage = -float(INTERVAL)

    def filter(self, record: logging.LogRecord) -> bool:
        message, error = record.getMessage(), record.exc_info and record.exc_info[1]
        if isinstance(error, OperationalError | InterfaceError):
            if time.monotonic() < self.last_outage + INTERVAL:
                return False
            self.last_outage = time.monotonic()
            record.exc_info = record.exc_text = None
            message = " ".join(f"{message} {type(error).__name__}: {error}".split())
        record.msg, record.args = message[:MAX_LENGTH], None
        return True
