"""The admin for holds."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from activity.admin.waiting_changes import WaitingChangesMixin
from activity.models import Hold


@admin.register(Hold)
class HoldAdmin(WaitingChangesMixin, admin.ModelAdmin):
    """The admin for holds. Deleting a hold lifts it."""

    list_display = ["scope", "reason", "set_by", "set_at"]
    list_select_related = ["repository__namespace", "namespace", "set_by"]
    autocomplete_fields = ["repository", "namespace"]
    readonly_fields = ["set_by", "set_at"]

    @admin.display(description=_("scope"))
    def scope(self, hold: Hold) -> str:
        return hold.scope

    def save_model(self, request: HttpRequest, obj: Hold, form: Any, change: bool) -> None:
        if not change:
            obj.set_by_id = request.user.pk
        super().save_model(request, obj, form, change)
