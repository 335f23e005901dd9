"""Records failed logins: the first one of a username, network and quarter of an hour as an event.

Further failures are only counted, so that nobody can fill the audit trail by trying passwords. Trying many
usernames doesn't fill it either, because only a limited number of them per network are recorded.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_login_failed
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from activity.catalogue import FAILED_LOGIN
from activity.models import MAX_ACTOR_LENGTH, FailedLogins
from activity.sources import auditing
from activity.storage.tallies import floor
from repositories.accounts import current_request
from repositories.utils.text import storable_text

MAX_USERNAMES = 50
"""The maximum number of usernames to record per network and quarter. Further ones are counted together."""
QUARTER = timedelta(minutes=15)
OTHERS = ""
"""The username under which further usernames are counted."""


def connect() -> None:
    """Connect the signal handler. Called when the application is ready."""
    user_login_failed.connect(_record)


@transaction.atomic
def _record(credentials: dict[str, Any], **_: Any) -> None:
    """Count a failed login under the entered username. The user with that name can see its event."""
    if not auditing.is_recorded(FAILED_LOGIN):
        return
    # Django's login form says `username`, whatever the field of the user model is called.
    tried = credentials.get("username", credentials.get(get_user_model().USERNAME_FIELD, ""))
    username = storable_text(str(tried), MAX_ACTOR_LENGTH)
    network, start = current_request.client_network(), floor(timezone.now(), QUARTER)
    rows = FailedLogins.objects.filter(network=network, start=start)
    if rows.filter(username=username).update(attempts=F("attempts") + 1):
        return
    if rows.count() >= MAX_USERNAMES:
        username = OTHERS
    row, created = rows.get_or_create(username=username, network=network, start=start)
    if created:
        row.event_id = auditing.record(FAILED_LOGIN, username=username)
        row.save(update_fields=["event"])
    rows.filter(pk=row.pk).update(attempts=F("attempts") + 1)
