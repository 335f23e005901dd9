"""Create an access token for the API."""

from argparse import ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from repositories.accounts.restrictions import validate_restriction
from repositories.models import AccessToken, Scope

MAX_DAYS = 36_500


class Command(BaseCommand):
    """`manage.py create_token USERNAME`"""

    help = "Creates an access token for a user, and prints only the token to standard output."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--name", default="", help="what the token is for")
        parser.add_argument(
            "--scope", action="append", choices=Scope.values, help="read or write events (default: read)"
        )
        parser.add_argument(
            "--only",
            action="append",
            default=[],
            metavar="PLACE",
            help="restrict the token to a namespace, such as acme/*, or a repository, such as acme/web",
        )
        parser.add_argument(
            "--days", type=_days, help="how long the token is valid (default: it does not expire)"
        )

    @transaction.atomic
    def handle(
        self,
        *args: Any,
        username: str,
        name: str,
        scope: list[str] | None,
        only: list[str],
        days: int | None,
        **options: Any,
    ) -> None:
        users = get_user_model()
        try:
            account = users._default_manager.get_by_natural_key(username)
            validate_restriction("\n".join(only))
        except users.DoesNotExist as error:
            raise CommandError(f"There is no user {username}. Create one in the admin first.") from error
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        scopes = scope or [Scope.READ]
        _, token = AccessToken.objects.create(
            account,
            expiry=None if days is None else timedelta(days=days),
            name=name,
            can_read=Scope.READ in scopes,
            can_write=Scope.WRITE in scopes,
            restricted_to="\n".join(only),
        )
        self.stderr.write(f"Token for {username} (it won't be shown again):")
        self.stdout.write(token)


def _days(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_DAYS):
        raise ArgumentTypeError(f"{text} is not a number of days from 1 to {MAX_DAYS}")
    return int(text)
