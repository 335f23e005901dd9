"""The admin for deletion rules."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.humanize.templatetags.humanize import intcomma
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from activity.admin.waiting_changes import WaitingChangesMixin
from activity.deletion import changes, rules
from activity.deletion.holds import holds_on
from activity.models import RULE_CATEGORIES, DeletionRule
from activity.models.deletion import AgeUnit
from repositories.models import Repository
from repositories.names import is_name


@admin.register(DeletionRule)
class DeletionRuleAdmin(WaitingChangesMixin, admin.ModelAdmin):
    """The admin for deletion rules, with a page that shows which rules apply to a repository's events."""

    change_list_template = "admin/registry_activity/deletionrule/change_list.html"
    list_display = ["__str__", "conditions"]
    list_filter = ["category"]
    list_select_related = ["repository__namespace", "namespace"]
    autocomplete_fields = ["repository", "namespace"]
    fields = ["repository", "namespace", "category", ("age", "age_unit"), ("max_events", "max_per")]

    @admin.display(description=_("deletes events"))
    def conditions(self, rule: DeletionRule) -> str:
        return describe_conditions(rules.rule_from_model(rule))

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.applicable_rules)
        return [
            path("applicable/", view, name="registry_activity_deletionrule_applicable"),
            *super().get_urls(),
        ]

    def applicable_rules(self, request: HttpRequest) -> HttpResponse:
        """Show which rule applies to each category of a repository's events."""
        if not self.has_view_permission(request):
            return HttpResponseRedirect(reverse("admin:index"))
        name = request.GET.get("repository", "").removeprefix("_/")
        found = Repository.objects.named(name).live().select_related("namespace")
        repository = found.first() if is_name(name) else None
        configuration = changes.in_effect()
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Which rule applies"),
            "opts": self.opts,
            "name": name,
            "repository": repository,
            "enabled": configuration.enabled,
            "is_held": repository is not None and configuration.holds_repository(repository),
            "holds": holds_on(repository) if repository else [],
            "rules": rules_by_category(configuration.rules, repository) if repository else [],
        }
        return TemplateResponse(
            request, "admin/registry_activity/deletionrule/applicable_rules.html", context
        )


def rules_by_category(
    in_effect: list[rules.Rule], repository: Repository
) -> list[tuple[str, rules.Rule, str]]:
    """Return a (category, rule, conditions) tuple for each category of a repository's events."""
    current = rules.with_defaults(in_effect)
    applicable = [
        (str(label), rules.applicable_rule(current, repository.pk, repository.namespace_id, category))
        for category, label in RULE_CATEGORIES
    ]
    return [(label, rule, describe_conditions(rule)) for label, rule in applicable]


def describe_conditions(rule: rules.Rule) -> str:
    """Return the conditions of a rule as text, for example `older than 2 months`."""
    conditions = []
    if rule.age:
        conditions.append(_age_in_words(rule.age_unit, rule.age) % {"number": rule.age})
    if rule.max_events:
        if rule.max_per_repository:
            text = gettext("beyond the newest %(number)s in each repository")
        else:
            text = gettext("beyond the newest %(number)s")
        conditions.append(text % {"number": intcomma(rule.max_events)})
    return gettext(" or ").join(conditions) or gettext("never")


def _age_in_words(unit: str, number: int) -> str:
    if unit == AgeUnit.HOURS:
        return ngettext("older than %(number)s hour", "older than %(number)s hours", number)
    if unit == AgeUnit.DAYS:
        return ngettext("older than %(number)s day", "older than %(number)s days", number)
    if unit == AgeUnit.WEEKS:
        return ngettext("older than %(number)s week", "older than %(number)s weeks", number)
    return ngettext("older than %(number)s month", "older than %(number)s months", number)
