"""Proves that no events were removed, except by auto-deletion."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from activity.deletion import verification
from activity.feed.chart import event_count_text
from activity.sources import auditing


class Command(BaseCommand):
    """`manage.py verify`"""

    help = (
        "Compares the number of events of each day with what was recorded, imported and deleted, and checks "
        "the archives. The exit status is 1 if anything is missing. The admin shows the result."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        result = verification.verify(auditing.current_actor()[1])
        for problem in result.problems:
            self.stderr.write(problem)
        present = event_count_text(sum(day["present"] for day in result.days))
        if result.problems:
            raise CommandError(f"{len(result.problems)} problems in {len(result.days)} days.")
        self.stdout.write(f"Nothing is missing: {present} in {len(result.days)} days.")
