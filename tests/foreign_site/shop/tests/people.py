"""Creates users of any of the user models."""

from typing import Any

from django.contrib.auth import get_user_model

User: Any = get_user_model()
PASSWORD = "korrekt-pferd-batterie"


def create(name: str, **fields: Any) -> Any:
    """Create a user who logs in with a name, or with an e-mail address if the user model has no names."""
    name = f"{name}@example.com" if User.USERNAME_FIELD == "email" else name
    return User.objects.create_user(**{User.USERNAME_FIELD: name}, password=PASSWORD, **fields)
