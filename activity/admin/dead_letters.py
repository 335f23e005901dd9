"""Messages stored aside, for MSR admins and auditors."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from activity.admin.capped import CappedPaginator
from activity.admin.read_only import ReadOnlyAdmin
from activity.models import DeadLetter
from activity.replay import replay


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    """What could not be recorded, with the reason; MSR admins try it again once that is mended."""

    list_display = ["received_at", "source", "account", "reason", "size", "replayed_at"]
    list_filter = ["source", ("replayed_at", admin.EmptyFieldListFilter)]
    list_select_related = ["account"]
    paginator = CappedPaginator
    show_full_result_count = False
    fields = ["received_at", "source", "account", "reason", "size", "replayed_at", "content_shown"]
    actions = ["replay"]

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("activity.change_deadletter")

    @admin.action(description="Replay selected messages", permissions=["replay"])
    def replay(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> None:
        outcomes = [replay(letter) for letter in queryset.select_related("account")]
        done, left = outcomes.count(True), outcomes.count(False)
        if done:
            messages.success(request, f"Recorded: {done}.")
        if left:
            messages.warning(request, f"Still stored aside, for the reasons in the list: {left}.")

    @admin.display(description="content")
    def content_shown(self, letter: DeadLetter) -> str:
        return format_html("<pre>{}</pre>", letter.text)
