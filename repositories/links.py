"""Links to pages that another app provides."""

from django.urls import reverse

URL_NAMES: dict[str, str] = {}
"""The URL names of the `user` and `policy` pages.

The app that provides these pages sets the names in `AppConfig.ready`.
"""


def page_url(page: str, name: str) -> str:
    """Return the URL of a user's or a policy's page. `page` is `user` or `policy`."""
    return reverse(URL_NAMES[page], args=[name])
