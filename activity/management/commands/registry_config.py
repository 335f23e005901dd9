"""Prints what a CNCF Distribution registry needs in its configuration to send its events here."""

from typing import Any

from django.core.management.base import BaseCommand
from django.urls import reverse

from activity import config
from activity.sources.registries import registry_account
from repositories.accounts.tokens import new_token

CONFIGURATION = """\
# For the configuration file of the registry (config.yml).
# Where the registry reaches this application by another host name than the one below, say so in
# ALLOWED_HOSTS here: a message for an unknown host is refused.
# The token is shown this once; a further run of this command makes another, and older ones stay valid.
notifications:
  endpoints:
    - name: activity
      url: {url}
      headers:
        Authorization: [Bearer {token}]
      timeout: 5s
      threshold: 10
      backoff: 1s
      # Layers are no activity, and most of the traffic.
      ignoredmediatypes: [application/octet-stream]
"""


class Command(BaseCommand):
    """`manage.py registry_config`"""

    help = (
        "Makes the registry's service account if there is none, and prints the registry's notification block."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        url = config.public_url() + reverse("registry_api:notifications")
        self.stdout.write(CONFIGURATION.format(url=url, token=new_token(registry_account())))
