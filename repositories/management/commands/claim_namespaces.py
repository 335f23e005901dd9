"""Creates namespaces for users who existed before the app was installed."""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from repositories.access.people import create_namespace_of


class Command(BaseCommand):
    """`manage.py claim_namespaces [USERNAME…]`"""

    help = (
        "Creates the namespaces of all users who have none. Namespaces that a registry has reported already "
        "are listed and stay unclaimed, because they might belong to somebody else. To assign them, name the "
        "users."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("usernames", nargs="*", metavar="USERNAME")

    @transaction.atomic
    def handle(self, *args: Any, usernames: list[str], **options: Any) -> None:
        manager, key = get_user_model()._default_manager, get_user_model().USERNAME_FIELD
        users = manager.filter(**{f"{key}__in": usernames}) if usernames else manager.all()
        if usernames and (unknown := set(usernames) - set(users.values_list(key, flat=True))):
            raise CommandError(f"There is no user named {', '.join(sorted(unknown))}.")
        for user in users.order_by("pk").iterator():
            namespace = create_namespace_of(user)
            if namespace is None:
                self.stdout.write(f"{user.get_username()}: the name isn't valid for a namespace.")
                continue
            if usernames and namespace.is_unclaimed:
                namespace.claim(user=user)
            if namespace.owner != user:
                owner = namespace.owner or "nobody"
                self.stdout.write(f"{user.get_username()}: {namespace} belongs to {owner}.")
