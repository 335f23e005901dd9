"""Let a user log in from an IP address although there were too many wrong passwords for the username."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from repositories.accounts import passwords


class Command(BaseCommand):
    help = (
        "Let a user log in from an IP address for 90 days, even if wrong passwords from other addresses "
        "have exceeded the limit for the username."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("address")

    def handle(self, *args: Any, username: str, address: str, **options: Any) -> None:
        try:
            passwords.trust(username, address)
        except ValueError as error:
            raise CommandError(str(error)) from error
