"""Access tokens, stored hashed: `Authorization: Bearer <token>`, or as a password where only those fit."""

from typing import Any

import knox.auth
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import authentication, exceptions

from activity import tokens
from repositories import acting


class TokenAuthentication(knox.auth.TokenAuthentication):
    """Knox's authentication, for which a token that isn't even text is merely a wrong one."""

    def authenticate_credentials(self, token: bytes) -> Any:
        try:
            user, found = super().authenticate_credentials(token)
        except UnicodeDecodeError as error:
            raise exceptions.AuthenticationFailed("Invalid token.") from error
        tokens.mark_used(found)
        return user, found

    def _cleanup_token(self, auth_token: Any) -> bool:
        """Remove the expired tokens of a user: nobody's act, as Create Token has told when they end."""
        with acting.unrecorded():
            return super()._cleanup_token(auth_token)


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
