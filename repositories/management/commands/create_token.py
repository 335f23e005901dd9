"""Create an access token for the API."""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from repositories.models import AccessToken


class Command(BaseCommand):
    """`manage.py create_token USERNAME`"""

    help = "Creates an access token for a user, and prints only the token to standard output."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")

    @transaction.atomic
    def handle(self, *args: Any, username: str, **options: Any) -> None:
        users = get_user_model()
        try:
            account = users._default_manager.get_by_natural_key(username)
        except users.DoesNotExist as error:
            raise CommandError(f"There is no user {username}. Create one in the admin first.") from error
        _, token = AccessToken.objects.create(account, expiry=None)
        self.stderr.write(f"Token for {username} (it won't be shown again):")
        self.stdout.write(token)
