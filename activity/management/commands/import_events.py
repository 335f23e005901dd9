"""Imports archived events."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from activity.deletion import imports
from activity.deletion.archive_files import ArchiveError


class Command(BaseCommand):
    """`manage.py import_events [--foreign] ARCHIVE`"""

    help = "Imports the events from an archive. They are not deleted again until the import is released."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "archive", help="name of the archive in the archive storage, as listed in the admin"
        )
        parser.add_argument(
            "--foreign",
            action="store_true",
            help="import the archive even if another installation wrote it; its events say so",
        )

    def handle(self, *args: Any, archive: str, foreign: bool, **options: Any) -> None:
        try:
            imported = imports.import_archive(archive, foreign=foreign)
        except (OSError, ArchiveError) as error:
            raise CommandError(f"{archive} can't be imported: {error}") from error
        existing = imported.events - imports.count_restored(imported)
        self.stdout.write(
            f"Imported {imported.events} events from {imported.archive_name}, of which {existing} existed and"
            " are unchanged. The events are held until the import is released."
        )
