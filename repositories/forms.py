"""What people enter on the pages of this application."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import QuerySet

from repositories import names
from repositories.access import Access
from repositories.models import Profile, Repository

SUGGESTED = 100
"""Names offered while one types, at most."""


class NameField(forms.ModelChoiceField):
    """Something that exists, entered by its name; what the viewer may not know of is not there."""

    widget = forms.TextInput

    def __init__(self, queryset: QuerySet | None, *, name: str, unknown: str, **kwargs: Any) -> None:
        super().__init__(queryset, to_field_name=name, error_messages={"invalid_choice": unknown}, **kwargs)

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and "\0" in value:  # which no database takes
            raise ValidationError(self.error_messages["invalid_choice"], code="invalid_choice")
        return super().to_python(value)


class ProfileForm(forms.ModelForm):
    """How one wants to see the site."""

    class Meta:
        model = Profile
        fields = ["time_zone"]
        help_texts = {"time_zone": "Dates and times are shown in this zone."}


class NewRepositoryForm(forms.ModelForm):
    """A repository that somebody makes by hand, in a namespace where they may."""

    namespace = NameField(
        None, name="name", unknown="There is no namespace of this name in which you may create repositories."
    )

    class Meta:
        model = Repository
        fields = ["namespace", "name", "visibility", "description"]
        help_texts = {
            "name": "Lower-case letters and digits, with separators (. _ - /) between them.",
            "visibility": "A public repository can be seen by everybody who is logged in.",
        }

    def __init__(self, *args: Any, access: Access, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["namespace"]
        field.queryset = access.namespaces("edit")  # type: ignore[attr-defined]
        field.widget.attrs["list"] = "namespaces"

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        namespace, name = cleaned.get("namespace"), cleaned.get("name", "")
        if namespace and names.is_name(name) and not names.is_name(names.join_name(namespace.name, name)):
            self.add_error(None, "No registry can have a repository of this full name.")
        return cleaned


class RepositoryForm(forms.ModelForm):
    """What a repository's admins may change of it."""

    class Meta:
        model = Repository
        fields = ["visibility", "description"]
        help_texts = {"visibility": NewRepositoryForm.Meta.help_texts["visibility"]}


class DeletionForm(forms.Form):
    """The name of what is to be deleted, typed by hand so that nobody deletes another by mistake."""

    confirmation = forms.CharField(max_length=2 * names.MAX_NAME_LENGTH)

    def __init__(self, *args: Any, expected: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.expected = expected
        self.fields["confirmation"].label = f"Type {expected} to confirm"

    def clean_confirmation(self) -> str:
        if self.cleaned_data["confirmation"].strip() != self.expected:
            raise ValidationError("That is not its name.")
        return self.expected
