"""The admin site of the host project."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.shortcuts import redirect
from django.template.response import TemplateResponse


class AdminSite(admin.AdminSite):
    """The admin site. Its index page shows the overview to MSR admins and auditors."""

    site_header = site_title = "Registry activity"
    index_title = "Administration"
    index_template = "msr_project/admin_index.html"

    def index(self, request: HttpRequest, extra_context: Any = None) -> TemplateResponse:
        from activity.admin import overview  # imported late: the module registers models with this site

        if request.user.has_perm("registry_repositories.audit_registry"):
            extra_context = {**overview.build_context(request.user), **(extra_context or {})}
        return super().index(request, extra_context)

    def password_change(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Redirect to the settings page, which limits wrong old passwords."""
        return redirect("registry_repositories:password")
