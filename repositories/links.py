"""Links to pages that another app provides."""

from django.urls import reverse

URL_NAMES: dict[str, str] = {}
"""The URL names of the pages `user` and `policy`, which another app sets in `AppConfig.ready`."""


def page_url(page: str, name: str) -> str:
    """Return the URL of the page of a user or a policy."""
    return reverse(URL_NAMES[page], args=[name])
