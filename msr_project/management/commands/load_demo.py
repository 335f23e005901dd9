"""Load demo data into a new installation, and print instructions for exploring it."""

import os
import secrets
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction
from django.utils import timezone
from tqdm import tqdm

from activity.recording.drafts import Delivery
from activity.recording.record import record_events
from activity.sources.registries import registry_account
from activity.storage import tags, tallies
from activity.storage.rows import BATCH
from msr_project import demo

INSTRUCTIONS = """
  Open {url} and log in as one of these users:

{users}

  Password:           {password}

  Compare {url}/repositories/acme/web/activity/ as reader and as repoadmin, who can uncheck
  "Exclude pull". As admin, see everything at {url}/admin/.

  Connect a registry: {port}.venv/bin/python manage.py registry_config
  API documentation:  {url}/api/v0/docs/
"""


class Command(BaseCommand):
    """The `load_demo` command, which `make run` runs on every start."""

    help = "Loads demo data on the first run. DEMO_PASSWORD sets the users' password (default: random)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--events", type=int, default=15_000, help="approximate number of events")

    def handle(self, *args: Any, events: int, **options: Any) -> None:
        password = os.environ.get("DEMO_PASSWORD", "")
        with transaction.atomic():  # is_loaded() checks only one repository, so load everything or nothing
            if not demo.is_loaded():
                password = password or secrets.token_urlsafe(9)
                demo.create_objects()
                self._record_events(events)
                tallies.fold()  # so that the overview in the admin shows the events before Celery beat runs
                tags.fold()
            if password:
                demo.set_passwords(password)
        users = "\n".join(f"    {name:<10} {role}" for name, role in demo.USERS.items())
        displayed = password or "as printed on the first start (set DEMO_PASSWORD to change it)"
        port = f"PORT={os.environ['PORT']} " if os.environ.get("PORT", "8000") != "8000" else ""
        self.stdout.write(
            INSTRUCTIONS.format(url=settings.PUBLIC_URL, users=users, password=displayed, port=port)
        )

    def _record_events(self, count: int) -> None:
        account = registry_account()
        generator = demo.EventGenerator(timezone.now(), Delivery(account.pk))
        drafts = list(generator.events(count)) if count else []
        with tqdm(
            total=len(drafts), desc="Demo events", unit="event", file=self.stderr._out, disable=None
        ) as progress:
            for start in range(0, len(drafts), BATCH):
                progress.update(len(record_events(drafts[start : start + BATCH])))
