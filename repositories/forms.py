"""The site's forms."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Any

from django import forms
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from repositories import names
from repositories.access.levels import GRANTABLE_CHOICES
from repositories.access.people import user_named
from repositories.access.resolving import Access
from repositories.models import Membership, Namespace, Organization, Profile, Repository, Team
from repositories.utils.text import is_storable

MAX_PERIOD = timedelta(days=3653)
"""How far ahead a grant can end."""
MAX_SUGGESTIONS = 100
"""The maximum number of suggestions for a name field."""


class ListForm(forms.Form):
    """The filters of a list. A list has none, unless a subclass adds fields."""

    @property
    def values(self) -> dict[str, Any]:
        self.is_valid()
        return {name: self.cleaned_data.get(name, "") for name in self.fields}


def search_field(max_length: int) -> forms.CharField:
    return forms.CharField(
        label=_("Search"),
        required=False,
        max_length=max_length,
        widget=forms.SearchInput({"placeholder": _("Part of the name")}),
    )


class SearchForm(ListForm):
    """A form to search a list."""

    q = search_field(names.MAX_NAME_LENGTH)


class DaysField(forms.IntegerField):
    """A number of days, up to ten years."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, min_value=1, max_value=MAX_PERIOD.days, **kwargs)


class RepositoryOrder(models.TextChoices):
    """The orders of the list of repositories."""

    NAME = "", _("Name")
    PUSHED = "-push", _("Last push, newest first")
    LEAST_PUSHED = "push", _("Last push, oldest first")
    PULLED = "-pull", _("Last pull, newest first")
    LEAST_PULLED = "pull", _("Last pull, oldest first")


class RepositorySearchForm(SearchForm):
    """A form to search for repositories, optionally in a single namespace."""

    q = search_field(names.MAX_REFERENCE_LENGTH)
    namespace = forms.CharField(
        label=_("Namespace"), required=False, widget=forms.TextInput({"placeholder": _("All")})
    )
    sort = forms.ChoiceField(
        label=_("Sort"), required=False, choices=[(order.value, order.label) for order in RepositoryOrder]
    )
    not_pulled_for = DaysField(label=_("Not pulled for (days)"))

    def clean_q(self) -> str:
        return names.name_in(self.cleaned_data["q"])


class HolderSearchForm(SearchForm):
    """A form to search the people who have access to a repository, or to list the teams instead."""

    by = forms.ChoiceField(required=False, choices=[("team", _("Teams"))], widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("by") and cleaned.get("q"):
            self.add_error("q", gettext("Only people can be searched, not teams."))
        return cleaned


class NameField(forms.ModelChoiceField):
    """A text field for the name of an existing object. Names outside the queryset are reported as unknown."""

    widget = forms.TextInput

    def __init__(
        self, queryset: QuerySet | None, *, name: str, unknown: str | Promise, **kwargs: Any
    ) -> None:
        super().__init__(queryset, to_field_name=name, error_messages={"invalid_choice": unknown}, **kwargs)

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and not is_storable(value):
            raise ValidationError(self.error_messages["invalid_choice"], code="invalid_choice")
        return super().to_python(value)


class PreferencesForm(forms.ModelForm):
    """A form for a user's display preferences."""

    class Meta:
        model = Profile
        fields = ["time_zone", "theme"]
        labels = {"theme": _("Light or dark")}
        help_texts = {"time_zone": _("Dates and times are shown in this zone.")}

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.fields["time_zone"].empty_label = gettext("Same as my browser")  # type: ignore[attr-defined]

    def clean(self) -> Any:
        if not self.data.keys() & self.fields.keys():
            raise ValidationError(gettext("The form is empty."))
        return super().clean()

    def save(self, commit: bool = True) -> Profile:
        if "time_zone" in self.changed_data:
            self.instance.time_zone_guessed = False
        return super().save(commit)


class NewRepositoryForm(forms.ModelForm):
    """A form to create a repository in one of the namespaces where the viewer can create repositories."""

    namespace = NameField(
        None,
        label=_("Namespace"),
        name="name",
        unknown=_("There is no namespace with this name where you can create repositories."),
    )

    class Meta:
        model = Repository
        fields = ["namespace", "name", "visibility", "description"]
        widgets = {"description": forms.Textarea(attrs={"rows": 5})}
        help_texts = {
            "name": _("Use lowercase letters and digits, with separators (. _ - /) between them."),
            "visibility": _("Everyone who is logged in can see a public repository."),
        }

    def __init__(self, *args: Any, access: Access, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["namespace"]
        field.queryset = access.namespaces("edit")  # type: ignore[attr-defined]
        field.widget.attrs["list"] = "namespaces"


class RepositoryForm(forms.ModelForm):
    """A form for the repository settings that repository admins can change."""

    class Meta:
        model = Repository
        fields = ["visibility", "description"]
        widgets = NewRepositoryForm.Meta.widgets
        help_texts = {"visibility": NewRepositoryForm.Meta.help_texts["visibility"]}

    def save(self, commit: bool = True) -> Repository:
        """Save only the form's fields, so that a concurrent deletion isn't undone."""
        self.instance.save(update_fields=self.Meta.fields)
        return self.instance


class DeletionForm(forms.Form):
    """A form that makes users type an object's name before they can delete it, to prevent mistakes."""

    confirmation = forms.CharField(max_length=2 * names.MAX_NAME_LENGTH)

    def __init__(self, *args: Any, expected: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.expected = expected
        self.fields["confirmation"].label = gettext("Type %(expected)s to confirm") % {"expected": expected}

    def clean_confirmation(self) -> str:
        if self.cleaned_data["confirmation"].strip() != self.expected:
            raise ValidationError(gettext("The name does not match."))
        return self.expected


class UserForm(forms.Form):
    """A form for the exact name of one of the given users."""

    user = NameField(None, name=get_user_model().USERNAME_FIELD, unknown="", label=_("Username"))

    def __init__(self, *args: Any, users: QuerySet, unknown: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["user"]
        field.queryset = users
        field.error_messages["invalid_choice"] = unknown


class MemberForm(forms.Form):
    """A form for a user and their role in an organization.

    It offers no suggestions, so that nobody can list all users.
    """

    user = forms.CharField(label=_("Username"), max_length=255)
    role = forms.ChoiceField(label=_("Role"), choices=Membership.Role.choices, initial=Membership.Role.MEMBER)

    def __init__(self, *args: Any, viewer: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.viewer = viewer

    def clean_user(self) -> Any:
        return user_named(self.cleaned_data["user"], self.viewer)


class OrganizationForm(forms.ModelForm):
    """A form for MSR admins to create an organization, with its first owner."""

    owner = forms.CharField(label=_("First owner"), max_length=255, help_text=_("The exact name of a user."))

    class Meta:
        model = Organization
        fields = ["name"]
        help_texts = {"name": _("Also the name of its first namespace.")}

    def __init__(self, *args: Any, viewer: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.viewer = viewer
        self.fields["owner"].initial = viewer.get_username()

    def clean_owner(self) -> Any:
        return user_named(self.cleaned_data["owner"], self.viewer)

    @transaction.atomic
    def save(self, commit: bool = True) -> Organization:
        organization = super().save(commit)
        Membership.objects.create(
            organization=organization, user=self.cleaned_data["owner"], role=Membership.Role.OWNER
        )
        return organization


class TeamForm(forms.ModelForm):
    """A form to create a team in an organization."""

    class Meta:
        model = Team
        fields = ["name"]
        help_texts = {
            "name": _("Use lowercase letters and digits, with single separators (. _ -) between them.")
        }


class UntilField(forms.DateField):
    """The last day of a period, in the user's time zone. Its value is the end of that day, or None."""

    widget = forms.DateInput({"type": "date"}, format="%Y-%m-%d")

    def __init__(self, **kwargs: Any) -> None:
        help_text = _("The last day of access. Leave it empty to give access without end.")
        super().__init__(label=_("Until"), required=False, help_text=help_text, **kwargs)

    def clean(self, value: Any) -> datetime | None:
        day = super().clean(value)
        if day is None:
            return None
        if day > timezone.localdate() + MAX_PERIOD:
            raise ValidationError(gettext("The day is more than ten years ahead."))
        midnight = datetime.combine(day + timedelta(days=1), time.min)
        end = timezone.make_aware(midnight)
        if end <= timezone.now():
            raise ValidationError(gettext("The day has passed."))
        return end


class RepositoryGrantForm(forms.Form):
    """A form to grant access to a repository to a user, or to a team of one of the given organizations."""

    holder = forms.CharField(
        label=_("User or team"),
        max_length=255,
        help_text=_("The exact name of a user, or organization/team."),
    )
    codename = forms.ChoiceField(label=_("Access"), choices=GRANTABLE_CHOICES)
    until = UntilField()

    def __init__(self, *args: Any, viewer: Any, organizations: QuerySet[Organization], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.viewer = viewer
        self.organizations = organizations
        self.fields["holder"].widget.attrs["list"] = "teams"

    def clean_holder(self) -> Any:
        """Return the user with the entered name, or the group of the team with that name."""
        organization, slash, name = self.cleaned_data["holder"].partition("/")
        if not slash:
            return user_named(organization, self.viewer)
        organizations = self.organizations.filter(name=organization)
        team = Team.objects.filter(organization__in=organizations, name=name).select_related("group").first()
        if team is not None:
            return team.group
        try:
            return user_named(self.cleaned_data["holder"], self.viewer)
        except ValidationError as error:
            raise ValidationError(
                gettext("There is no team with this name in the organizations that you can see.")
            ) from error


class TeamGrantForm(forms.Form):
    """A form to grant a team access to one of its organization's namespaces or repositories."""

    place = forms.CharField(label=_("Repository or namespace"), max_length=names.MAX_NAME_LENGTH)
    codename = forms.ChoiceField(label=_("Access"), choices=GRANTABLE_CHOICES)
    until = UntilField()

    def __init__(self, *args: Any, organization: Organization, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.organization = organization

    def clean_place(self) -> Repository | Namespace:
        namespace, slash, name = self.cleaned_data["place"].partition("/")
        place: Any = self.organization.namespaces.filter(name=namespace).first()
        if place and slash:
            place = place.repositories.live().filter(name=name).first()
        if place is None:
            raise ValidationError(gettext("The organization has no namespace or repository with this name."))
        return place
