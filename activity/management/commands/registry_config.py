"""Prints the configuration that makes a CNCF Distribution registry send its events here."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.urls import reverse

from activity import config
from activity.sources.registries import REGISTRY_ACCOUNT, PersonalAccount, registry_account
from repositories.models import AccessToken

CONFIGURATION = """\
# Add this block to the registry's configuration file (config.yml).
# If the registry reaches this application under a different host name than the one below, add that name to
# the application's ALLOWED_HOSTS. Messages sent to unknown host names are rejected.
# The token is shown only once. Running this command again creates another token; older tokens remain valid.
notifications:
  events:
    # A client pulls a multi-platform image with two requests: for its index and for the image of a platform.
    # With this option, notifications about an index list its images, so that both requests are one pull.
    includereferences: true
  endpoints:
    - name: activity
      url: {url}
      headers:
        Authorization: [Bearer {token}]
      timeout: 5s
      threshold: 10
      backoff: 1s
      # Most of the traffic is about layers, which are not recorded.
      ignoredmediatypes: [application/octet-stream]
"""


class Command(BaseCommand):
    """`manage.py registry_config`"""

    help = (
        "Creates the registry's service account if needed, and prints the registry's `notifications`"
        " configuration."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("account", nargs="?", default=REGISTRY_ACCOUNT, help="default: %(default)s")

    @transaction.atomic
    def handle(self, *args: Any, account: str, **options: Any) -> None:
        url = config.public_url() + reverse("registry_api:notifications")
        try:
            user = registry_account(account)
        except PersonalAccount as error:
            raise CommandError(
                f"Somebody logs in as {account}. Name another account: registry_config ACCOUNT"
            ) from error
        _, token = AccessToken.objects.create(
            user, expiry=None, name=f"registry {account}", can_read=False, can_write=True
        )
        self.stdout.write(CONFIGURATION.format(url=url, token=token))
