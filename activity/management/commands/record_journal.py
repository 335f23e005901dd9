"""Records the journal until the process is stopped."""

from typing import Any

from django.core.management.base import BaseCommand

from activity.sources import recorder


class Command(BaseCommand):
    """`manage.py record_journal`"""

    help = (
        "Records messages and actions in the journal as events. Stands by while another recorder is active."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        recorder.run()
