"""Deletes events by the rules of auto-deletion, or says what would go."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from activity.deletion import runs
from activity.models import THE_COMMAND_LINE, AutoDeletion, Run


class Command(BaseCommand):
    """`manage.py delete_events [--dry-run]`"""

    help = "Runs auto-deletion now, by the settings in the admin."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="count what would go, and delete nothing")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        if not dry_run and not AutoDeletion.get_solo().enabled:
            raise CommandError(
                "Auto-deletion is off. Turn it on in the admin first (Activity, Auto-deletion)."
            )
        try:
            run = runs.start(THE_COMMAND_LINE, preview=dry_run)
        except runs.UnderWay as reason:
            raise CommandError(
                f"{reason} Wait for it, or stop it in the admin (Activity, Job logs)."
            ) from reason
        with tqdm(unit="event", desc=str(run), file=self.stderr._out) as bar:
            runs.execute(run, lambda run: self._show(bar, run))
        run.refresh_from_db()
        for rule, entry in run.report.items():
            self.stdout.write(f"{rule}: {entry['events']} ({entry['categories']})")
        done = f"{run.expected or 0} would go" if dry_run else f"{run.deleted} are gone"
        self.stdout.write(f"{run} {run.get_state_display()}: {done}.")
        if run.state == Run.State.FAILED:
            raise CommandError(run.error)

    def _show(self, bar: Any, run: Run) -> None:
        bar.total = run.expected
        bar.update(run.deleted - bar.n)
