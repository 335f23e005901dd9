"""The admin for policies."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from repositories.admin.immutable import ImmutableFieldsMixin
from repositories.models import Criterion, Policy
from repositories.policies import changes
from repositories.policies.forms import MAX_CRITERIA, CriteriaFormSet, PolicyForm
from repositories.utils.admin_lookup import LookupMixin


class CriterionInline(admin.TabularInline):
    model = Criterion
    formset = CriteriaFormSet
    extra = 1
    max_num = MAX_CRITERIA


@admin.register(Policy)
class PolicyAdmin(LookupMixin, ImmutableFieldsMixin, admin.ModelAdmin):
    form = PolicyForm
    list_display = ["public_id", "kind", "repository", "criteria_in_words", "enabled", "created_at"]
    list_filter = ["kind", "enabled"]
    list_select_related = ["repository__namespace"]
    search_fields = ["public_id", "repository__full_name"]
    autocomplete_fields = ["repository", "target"]
    immutable_fields = ["kind", "repository"]
    readonly_fields = ["public_id"]
    inlines = [CriterionInline]

    @admin.display(description=_("criteria"))
    def criteria_in_words(self, policy: Policy) -> str:
        return policy.criteria_in_words()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Policy]:
        return super().get_queryset(request).prefetch_related("criteria")

    def get_fields(self, request: HttpRequest, obj: Policy | None = None) -> list[Any]:
        if obj is None:
            return ["kind", "repository", *changes.FIELDS]
        return ["public_id", "kind", "repository", "enabled", *Policy.REQUIRED_FIELDS[Policy.Kind(obj.kind)]]

    def save_model(self, request: HttpRequest, obj: Policy, form: Any, change: bool) -> None:
        form.before = changes.snapshot(obj)
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        changes.send_changes(form.instance, form.before)  # after the criteria have been saved

    def delete_model(self, request: HttpRequest, obj: Policy) -> None:
        changes.delete(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Policy]) -> None:
        for policy in queryset.select_related("repository__namespace"):
            self.delete_model(request, policy)
