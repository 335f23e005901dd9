"""The admin site of the host project."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.contenttypes.models import ContentType
from django.contrib.contenttypes.views import shortcut
from django.http import Http404, HttpRequest
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.translation import gettext_lazy as _

from repositories.accounts.profiles import with_preferences
from repositories.utils.admin_lookup import LookupMixin


class AdminSite(admin.AdminSite):
    """The admin site. Its index page shows the overview to MSR admins and auditors."""

    site_header = site_title = _("Registry activity")
    index_title = _("Administration")
    index_template = "msr_project/admin_index.html"

    def index(self, request: HttpRequest, extra_context: Any = None) -> TemplateResponse:
        from activity.admin import overview  # imported late: the module registers models with this site

        if request.user.has_perm("registry_repositories.audit_registry"):
            extra_context = {**overview.build_context(request.user), **(extra_context or {})}
        return super().index(request, extra_context)

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Register models. The admins of other apps, too, get the checks of `LookupMixin`."""
        admin_class = admin_class or admin.ModelAdmin
        if not issubclass(admin_class, LookupMixin):
            admin_class = type(admin_class.__name__, (LookupMixin, admin_class), {})
        super().register(model_or_iterable, admin_class, **options)

    def get_urls(self) -> list[Any]:
        view = self.admin_view(self.view_on_site)
        return [path("r/<path:content_type>/<path:pk>/", view, name="view_on_site"), *super().get_urls()]

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Show times in the user's time zone."""
        return with_preferences(super().admin_view(view, cacheable))

    def view_on_site(self, request: HttpRequest, content_type: str, pk: str) -> Any:
        """Redirect to an object's page on the site, but only if the user may view the object in the admin.

        Django's own view tells all staff which objects exist.
        """
        try:
            model = ContentType.objects.get(pk=content_type).model_class()
        except (ContentType.DoesNotExist, ValueError) as error:
            raise Http404 from error
        model_admin: Any = self._registry.get(model) if model else None
        row = model_admin and model_admin.get_object(request, pk)
        if not (row and model_admin.has_view_permission(request, row)):
            raise Http404
        return shortcut(request, content_type, pk)

    def password_change(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Redirect to the settings page, which limits wrong old passwords."""
        return redirect("registry_repositories:password")
