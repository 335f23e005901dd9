"""Access tokens, stored hashed: `Authorization: Bearer <token>`, or as a password where only those fit."""

from typing import Any

import knox.auth
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import authentication, exceptions

from activity import tokens


class TokenAuthentication(knox.auth.TokenAuthentication):
    """Knox's authentication, by one query instead of four.

    A token that isn't even text is merely a wrong one.
    """

    def authenticate_credentials(self, token: bytes) -> Any:
        try:
            found = tokens.find(token.decode())
        except UnicodeDecodeError:
            found = None
        if found is None:
            raise exceptions.AuthenticationFailed("Invalid token.")
        authenticated = self.validate_user(found)
        tokens.mark_used(found)
        return authenticated


class BasicTokenAuthentication(authentication.BasicAuthentication):
    """HTTP Basic with the user's name and a token of theirs, never their password."""

    def authenticate_credentials(self, userid: str, password: str, request: Any = None) -> Any:
        user, token = TokenAuthentication().authenticate_credentials(password.encode())
        if user.get_username() != userid:
            raise exceptions.AuthenticationFailed("Invalid token.")
        return user, token


class TokenScheme(OpenApiAuthenticationExtension):
    """Describes the tokens in the OpenAPI schema."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}
