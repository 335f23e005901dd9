from django import forms

from repositories.models import Profile


class ProfileForm(forms.ModelForm):
    """How one wants to see the site."""

    class Meta:
        model = Profile
        fields = ["time_zone"]
        help_texts = {"time_zone": "Dates and times are shown in this zone."}
