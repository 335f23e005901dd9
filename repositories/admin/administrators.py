"""Refuses changes after which nobody could administer the registry, or an organization."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _

from repositories import administrators


class AdministratorsMixin(admin.ModelAdmin):
    """Undoes a change or a deletion after which the last MSR admin or owner is gone, and says why.

    The last one can be lost in many ways: when the account is deleted or deactivated, when its permissions or
    groups change, or when a group's permissions change. Therefore, the state after the change is checked.
    """

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._refuse(super().changeform_view, request, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._refuse(super().delete_view, request, *args, **kwargs)

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._refuse(super().changelist_view, request, *args, **kwargs)

    def _refuse(
        self, view: Callable[..., HttpResponse], request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        if request.method != "POST":
            return view(request, *args, **kwargs)
        try:
            with administrators.guard() as check:
                request.check_administrators = check  # type: ignore[attr-defined]
                return view(request, *args, **kwargs)
        except administrators.LastAdministrator as error:
            messages.error(request, _("Nothing was changed. %(reason)s") % {"reason": error.messages[0]})
            return redirect(request.get_full_path())

    # The check comes before Django's message that the change was successful.

    def save_related(self, request: HttpRequest, *args: Any) -> None:
        super().save_related(request, *args)
        request.check_administrators()  # type: ignore[attr-defined]

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        super().delete_model(request, obj)
        request.check_administrators()  # type: ignore[attr-defined]

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet) -> None:
        super().delete_queryset(request, queryset)
        request.check_administrators()  # type: ignore[attr-defined]
