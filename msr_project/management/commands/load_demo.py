"""Fills a new installation with demo data, and says how to look at it."""

import os
import secrets
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction
from django.utils import timezone
from tqdm import tqdm

from activity.recording.record import record_events
from activity.sources.registries import registry_account
from activity.storage import tags, tallies
from activity.storage.rows import BATCH
from msr_project import demo

NEXT = """
  Open {url} and log in as one of these, password {password}:

{users}

  Then: look at {url}/repositories/acme/web/activity/ as reader and as repoadmin, who may uncheck
  "Exclude pull"; see everything at {url}/admin/ as admin.
  Connect a registry: {port}.venv/bin/python manage.py registry_config
  Read the API:       {url}/api/v0/docs/
"""


class Command(BaseCommand):
    """`manage.py load_demo`, which `make run` calls at each start."""

    help = "Loads demo data the first time. DEMO_PASSWORD sets the demo users' password, else one is made up."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--events", type=int, default=15_000, help="about how many events to make up")

    def handle(self, *args: Any, events: int, **options: Any) -> None:
        password = os.environ.get("DEMO_PASSWORD", "")
        with transaction.atomic():  # all of it, or nothing that a later start would take for all
            if not demo.is_loaded():
                password = password or secrets.token_urlsafe(9)
                demo.load_world()
                self._record(events)
                tallies.fold()  # so that the front page has something to show before Celery beat has
                tags.fold()
            if password:
                demo.set_passwords(password)
        users = "\n".join(f"    {name:<10} {role}" for name, role in demo.USERS.items())
        shown = password or "as printed at the first start (DEMO_PASSWORD=… sets another)"
        port = f"PORT={os.environ['PORT']} " if os.environ.get("PORT", "8000") != "8000" else ""
        self.stdout.write(NEXT.format(url=settings.PUBLIC_URL, users=users, password=shown, port=port))

    def _record(self, count: int) -> None:
        account = registry_account()
        story = demo.Story(until=timezone.now())
        with tqdm(total=count, desc="Demo events", unit="event", file=self.stderr._out) as progress:
            drafts = list(story.events(count)) if count else []
            for start in range(0, len(drafts), BATCH):
                progress.update(len(record_events(drafts[start : start + BATCH], account.pk)))
