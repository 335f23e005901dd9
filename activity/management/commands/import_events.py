"""Imports archived events."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from activity.deletion import archives
from activity.sources import auditing


class Command(BaseCommand):
    """`manage.py import_events ARCHIVE`"""

    help = "Imports the events from an archive. They are not deleted again until the import is released."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "archive", help="name of the archive in the archive storage, as listed in the admin"
        )

    def handle(self, *args: Any, archive: str, **options: Any) -> None:
        try:
            with transaction.atomic():
                imported = archives.import_archive(archive)
                auditing.record("import_events", subject=archive, events=imported.events)
        except (OSError, ValueError, KeyError, archives.DamagedArchive, archives.DeletionPending) as error:
            raise CommandError(f"{archive} can't be imported: {error}") from error
        self.stdout.write(
            f"Imported {imported.events} events from {archive}. The events are held until the import is"
            " released."
        )
