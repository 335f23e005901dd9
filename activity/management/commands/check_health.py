"""Says whether everything works."""

import sys
from typing import Any

from django.core.management.base import BaseCommand

from activity.health.findings import State
from activity.health.report import create_report, worst_state


class Command(BaseCommand):
    """`manage.py check_health`"""

    help = (
        "Says whether everything works. The exit status is 0 if so, 1 if there are warnings, and 2 if "
        "there are errors."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        results = create_report()
        styles = {State.WARNING: self.style.WARNING, State.ERROR: self.style.ERROR}
        for result in results:
            for finding in result.findings:
                line = f"{finding.state.label:8}{result.check.label}: {finding.text}"
                self.stdout.write(line, styles.get(finding.state))
        if state := worst_state(results):
            sys.exit(state)
