"""Deletes events according to the auto-deletion rules, or counts the events that would be deleted."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from activity.deletion import changes, runs
from activity.feed.chart import event_count_text
from activity.models import Run
from activity.sources import auditing


class Command(BaseCommand):
    """`manage.py delete_events [--dry-run]`"""

    help = "Runs auto-deletion now, with the settings from the admin."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="count the events that would be deleted, without deleting any",
        )

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        if not dry_run and not changes.in_effect().enabled:
            raise CommandError(
                "Auto-deletion is off, or has not taken effect yet. See the admin (Activity > Auto-deletion)."
            )
        try:
            run = runs.start(auditing.current_actor()[1], preview=dry_run)
        except runs.AlreadyRunning as reason:
            raise CommandError(
                f"{reason} Wait for it to finish, or stop it in the admin (Activity > Runs)."
            ) from reason
        for change in run.waiting:
            self.stdout.write(f"{'Included' if dry_run else 'Ignored'}, since it still waits: {change}")
        with tqdm(
            unit="event", desc=str(run), file=self.stderr._out, dynamic_ncols=True, disable=None
        ) as bar:
            runs.execute(run, lambda run: self._update_progress(bar, run))
        run.refresh_from_db()
        for rule, entry in run.report.items():
            counts = ", ".join(f"{category}: {count}" for category, count in entry["categories"].items())
            self.stdout.write(f"{rule}: {entry['events']} ({counts})")
        number = event_count_text(run.expected or 0 if dry_run else run.deleted)
        summary = f"{number} would be deleted" if dry_run else f"{number} deleted"
        self.stdout.write(f"{run}: {run.get_state_display()}. {summary}.")
        if run.state in (Run.State.FAILED, Run.State.WAITING):
            raise CommandError(run.error)

    def _update_progress(self, bar: Any, run: Run) -> None:
        bar.total = run.expected
        bar.update((run.expected or 0 if run.preview else run.deleted) - bar.n)
