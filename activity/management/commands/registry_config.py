"""Prints the configuration that makes a CNCF Distribution registry send its events here."""

from typing import Any

from django.core.management.base import BaseCommand
from django.urls import reverse

from activity import config
from activity.sources.registries import registry_account
from repositories.accounts.tokens import new_token

CONFIGURATION = """\
# For the configuration file of the registry (config.yml).
# If the registry uses another host name for this application than the one below, add that name to
# ALLOWED_HOSTS here. Messages for unknown hosts are rejected.
# The token is shown only once. Running this command again creates another; older tokens remain valid.
notifications:
  endpoints:
    - name: activity
      url: {url}
      headers:
        Authorization: [Bearer {token}]
      timeout: 5s
      threshold: 10
      backoff: 1s
      # Layers are most of the traffic, and are not recorded.
      ignoredmediatypes: [application/octet-stream]
"""


class Command(BaseCommand):
    """`manage.py registry_config`"""

    help = "Creates the registry's service account if needed, and prints the registry's notifications block."

    def handle(self, *args: Any, **options: Any) -> None:
        url = config.public_url() + reverse("registry_api:notifications")
        self.stdout.write(CONFIGURATION.format(url=url, token=new_token(registry_account())))
