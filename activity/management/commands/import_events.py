"""Brings archived events back."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from activity.deletion import archives
from activity.sources import auditing


class Command(BaseCommand):
    """`manage.py import_events ARCHIVE`"""

    help = "Stores the events of an archive again. They are held until the import is released in the admin."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "archive", help="its name in the archive storage, as in the admin's list of archives"
        )

    def handle(self, *args: Any, archive: str, **options: Any) -> None:
        try:
            with transaction.atomic():
                imported = archives.bring_back(archive)
                auditing.record("import_events", subject=archive, events=imported.events)
        except (OSError, ValueError, KeyError, archives.Damaged, archives.NotDeleted) as error:
            raise CommandError(f"{archive} can't be imported: {error}") from error
        self.stdout.write(f"{imported.events} events of {archive} are back, and held until released.")
