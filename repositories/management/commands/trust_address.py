"""Let a user log in from an IP address although there were too many wrong passwords for the username."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
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
        users = get_user_model()
        try:
            passwords.trust(users._default_manager.get_by_natural_key(username), address)
        except users.DoesNotExist as error:
            raise CommandError(f"There is no user {username}.") from error
        except ValueError as error:
            raise CommandError(str(error)) from error
