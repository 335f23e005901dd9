"""The admin page that shows whether any events were removed, other than by auto-deletion."""

from __future__ import annotations

from django.contrib import admin
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from activity.admin.read_only import ReadOnlyAdmin
from activity.admin.tables import render_table
from activity.models import Verification

MAX_DAYS = 1_000
"""The maximum number of days to show."""
MAX_PROBLEMS = 200


@admin.register(Verification)
class VerificationAdmin(ReadOnlyAdmin):
    """Shows the results of the verifications, which run each week, and by `manage.py verify`."""

    list_display = ["__str__", "started_by", "started_at", "finished_at"]
    fields = ["outcome", "started_by", "started_at", "finished_at", "day_table"]

    @admin.display(description=_("result"))
    def outcome(self, verification: Verification) -> str:
        if not verification.finished_at:
            return gettext("This verification has not finished.")
        if not verification.problems:
            return gettext(
                "Nothing is missing: what was recorded and imported is there, except what runs have deleted."
            )
        listed = verification.problems[:MAX_PROBLEMS]
        return format_html("<ul>{}</ul>", format_html_join("", "<li>{}</li>", ((each,) for each in listed)))

    @admin.display(description=_("days (UTC)"))
    def day_table(self, verification: Verification) -> str:
        headings = (
            gettext("Day"),
            gettext("Recorded"),
            gettext("Imported"),
            gettext("Deleted"),
            gettext("Archived"),
            gettext("There now"),
        )
        rows = [
            (
                day["day"],
                day["recorded"],
                day["imported"],
                ", ".join(
                    gettext("%(number)s by %(run)s") % {"number": number, "run": run}
                    for run, number in day["deleted"].items()
                )
                or 0,
                day["archived"],
                day["present"],
            )
            for day in verification.days[:MAX_DAYS]
        ]
        return render_table(headings, rows)
