"""What the admin's actions have in common."""

from django.contrib import messages
from django.http import HttpRequest


def report(request: HttpRequest, done: str, count: int) -> None:
    """Show how many objects an action changed, as a success unless there are none."""
    if count:
        messages.success(request, f"{done}: {count}.")
    else:
        messages.warning(request, "Nothing was changed. The selected objects were in this state before.")
