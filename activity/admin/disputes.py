"""The admin for disputes: marks on what an account or one of its access tokens delivered."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from activity.admin.actions import report, set_time
from activity.admin.waiting_changes import WaitingChangesMixin
from activity.models import Dispute
from repositories.admin.picking import PickerMixin


@admin.register(Dispute)
class DisputeAdmin(PickerMixin, WaitingChangesMixin, admin.ModelAdmin):
    """Disputes can be added and lifted, but not changed. An event's page links to the form."""

    list_display = ["__str__", "reason", "disputed_by", "disputed_at", "lifted_at"]
    list_select_related = ["account", "disputed_by"]
    fields = ["account", "token_key", "since", "until", "reason"]
    picked_fields = ["account"]
    actions = ["lift"]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Return the values in the URL. The widget for times needs them as datetimes."""
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        for name in ("since", "until"):
            try:
                initial[name] = datetime.fromisoformat(initial.pop(name, ""))
            except ValueError:
                continue
        return initial

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None and super().has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Dispute, form: Any, change: bool) -> None:
        obj.disputed_by_id = request.user.pk
        super().save_model(request, obj, form, change)

    @admin.action(
        description=_("Lift selected disputes (deletion rules will apply to their events again)"),
        permissions=["change"],
    )
    @transaction.atomic
    def lift(self, request: HttpRequest, queryset: QuerySet[Dispute]) -> None:
        report(request, gettext("Lifted: %(number)s."), len(set_time(queryset, "lifted_at")))
