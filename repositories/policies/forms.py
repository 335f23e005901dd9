"""The forms of policies and their criteria, for the site and the admin."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from repositories import names
from repositories.access.resolving import Access
from repositories.models import Criterion, Policy, Repository
from repositories.policies import criteria, tag_templates

MAX_CRITERIA = 20
EMPTY_ROWS = 3


class PolicyForm(forms.ModelForm):
    """A policy of any kind."""

    class Meta:
        model = Policy
        fields = ["enabled", "target", "remote_registry", "remote_repository", "tag_template", "interval"]

    def clean(self) -> dict[str, Any]:
        """Hold each kind to what it needs."""
        cleaned = super().clean() or {}
        kind = cleaned.get("kind", self.instance.kind)
        for name in {name for needs in Policy.NEEDS.values() for name in needs} & cleaned.keys():
            given, needed = cleaned[name] not in (None, ""), name in Policy.NEEDS.get(kind, [])
            if needed and not given:
                self.add_error(name, "This field is required.")
            elif given and not needed:
                self.add_error(name, "A policy of this kind has none.")
        return cleaned


class SitePolicyForm(PolicyForm):
    """A policy of one kind and repository, as those edit it whose `access` it brings."""

    target = forms.CharField(
        label="Target repository",
        max_length=names.MAX_NAME_LENGTH,
        required=False,
        help_text="Its full name in this registry, such as acme/production. You must be able to push to it.",
    )

    def __init__(self, *args: Any, access: Access, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.access = access
        for name in set(self.fields) - {"enabled", *Policy.NEEDS[self.instance.kind]}:
            del self.fields[name]
        target = self.instance.target
        if target:
            self.initial["target"] = target.full_name if may_push(access, target) else ""
        if not self.instance.pk:
            self.initial["tag_template"] = tag_templates.SAME_TAG

    def clean_target(self) -> Repository | None:
        name = self.cleaned_data["target"].strip()
        if not name:
            return None
        target = self.access.repositories(["push"]).named(name).select_related("namespace").first()
        if target is None or not names.is_name(name):
            raise ValidationError("There is no repository of this name that you can push to.")
        return target


def may_push(access: Access, repository: Repository | None) -> bool:
    """Tell whether tags may be promoted to a repository in somebody's name."""
    return (
        repository is not None
        and repository.deleted_at is None
        and "push" in access.permissions_on(repository)
    )


class CriteriaFormSet(forms.BaseInlineFormSet):
    """The criteria of one policy, which must make sense together."""

    def add_fields(self, form: Any, index: int | None) -> None:
        super().add_fields(form, index)
        if self.instance.kind not in ("", Policy.Kind.PRUNING):
            operator = form.fields["operator"]
            operator.choices = [choice for choice in operator.choices if choice[0] not in criteria.NUMBERS]
            operator.error_messages["invalid_choice"] = "Only pruning goes by pulls, age and number."

    def clean(self) -> None:
        super().clean()
        if any(self.errors):
            return
        kept = [
            form.instance
            for form in self.forms
            if form.has_changed() or form.instance.pk
            if form not in self.deleted_forms
        ]
        if self.instance.kind == Policy.Kind.PRUNING and not kept:
            raise ValidationError("Pruning needs a criterion: without one, it would delete every tag.")
        if problem := criteria.problem(kept):
            raise ValidationError(problem)


SiteCriteriaFormSet = forms.inlineformset_factory(
    Policy,
    Criterion,
    formset=CriteriaFormSet,
    fields=["operator", "value"],
    extra=EMPTY_ROWS,
    max_num=MAX_CRITERIA,
    validate_max=True,
)
