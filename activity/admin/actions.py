"""What the admin's actions have in common."""

from django.contrib import messages
from django.http import HttpRequest
from django.utils.translation import gettext as _


def report(request: HttpRequest, text: str, count: int) -> None:
    """Show how many objects an action changed, as a success unless there are none.

    `text` contains `%(number)s`.
    """
    if count:
        messages.success(request, text % {"number": count})
    else:
        messages.warning(request, _("Nothing was changed: the selected objects were in this state already."))
