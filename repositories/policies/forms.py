"""Forms for policies and their criteria, used by the site and the admin."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from repositories import names
from repositories.access.resolving import Access
from repositories.models import Criterion, Policy, Repository
from repositories.policies import changes, criteria, tag_templates

MAX_CRITERIA = 20
EMPTY_ROWS = 3


class PolicyForm(forms.ModelForm):
    """A form for policies of any kind."""

    class Meta:
        model = Policy
        fields = changes.FIELDS

    def clean(self) -> dict[str, Any]:
        """Check that the policy has all fields that its kind requires, and none that only other kinds use."""
        cleaned = super().clean() or {}
        kind = cleaned.get("kind", self.instance.kind)
        for name in {name for fields in Policy.REQUIRED_FIELDS.values() for name in fields} & cleaned.keys():
            given, required = cleaned[name] not in (None, ""), name in Policy.REQUIRED_FIELDS.get(kind, [])
            if required and not given:
                self.add_error(name, gettext("This field is required."))
            elif given and not required:
                self.add_error(name, gettext("This field doesn't apply to this kind of policy."))
        return cleaned


class SitePolicyForm(PolicyForm):
    """A form for a policy whose kind and repository are fixed. `access` contains the viewer's permissions."""

    target = forms.CharField(
        label=_("Target repository"),
        max_length=names.MAX_NAME_LENGTH,
        required=False,
        help_text=_(
            "A full name in this registry, such as acme/production. You need permission to push to it."
        ),
    )

    def __init__(self, *args: Any, access: Access, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.access = access
        for name in set(self.fields) - {"enabled", *Policy.REQUIRED_FIELDS[self.instance.kind]}:
            del self.fields[name]
        target = self.instance.target
        if target:
            self.initial["target"] = target.full_name if can_push_to(access, target) else ""
        if not self.instance.pk:
            self.initial["tag_template"] = tag_templates.SAME_TAG

    def clean_target(self) -> Repository | None:
        name = self.cleaned_data["target"].strip()
        if not name:
            return None
        target = self.access.repositories(["push"]).named(name).select_related("namespace").first()
        if target is None or not names.is_name(name):
            raise ValidationError(gettext("There is no repository with this name that you can push to."))
        return target


def can_push_to(access: Access, repository: Repository) -> bool:
    """Return whether the viewer can promote tags to a repository, i.e. it is live and they can push to it."""
    return repository.deleted_at is None and "push" in access.permissions_on(repository)


class CriteriaFormSet(forms.BaseInlineFormSet):
    """A formset for one policy's criteria. It checks that the criteria can be combined."""

    def add_fields(self, form: Any, index: int | None) -> None:
        super().add_fields(form, index)
        if self.instance.kind not in ("", Policy.Kind.PRUNING):
            operator = form.fields["operator"]
            operator.choices = [
                (value, label) for value, label in operator.choices if value not in criteria.NUMERIC_LIMITS
            ]
            operator.error_messages["invalid_choice"] = gettext(
                "Only pruning policies can have this criterion."
            )

    def clean(self) -> None:
        super().clean()
        if any(self.errors):
            return
        remaining = [
            form.instance
            for form in self.forms
            if form.has_changed() or form.instance.pk
            if form not in self.deleted_forms
        ]
        if self.instance.kind == Policy.Kind.PRUNING and not remaining:
            raise ValidationError(
                gettext("Add at least one criterion. Without one, pruning would delete every tag.")
            )
        if conflict := criteria.find_conflict(remaining):
            raise ValidationError(conflict)


SiteCriteriaFormSet = forms.inlineformset_factory(
    Policy,
    Criterion,
    formset=CriteriaFormSet,
    fields=["operator", "value"],
    extra=EMPTY_ROWS,
    max_num=MAX_CRITERIA,
    absolute_max=MAX_CRITERIA,
    validate_max=True,
)
