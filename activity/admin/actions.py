"""What the admin's actions have in common."""

from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _


def report(request: HttpRequest, text: str, count: int) -> None:
    """Show how many objects an action changed, as a success unless there are none.

    `text` contains `%(number)s`.
    """
    if count:
        messages.success(request, text % {"number": count})
    else:
        messages.warning(request, _("Nothing was changed: the selected objects were in this state already."))


def set_time(queryset: QuerySet, field: str) -> list[Any]:
    """Set a field to now in the rows in which it is empty, and return these rows.

    They are saved one by one, so that each change sends signals.
    """
    rows = list(queryset.filter(**{field: None}))
    for row in rows:
        setattr(row, field, timezone.now())
        row.save(update_fields=[field])
    return rows
