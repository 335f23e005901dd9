"""Access tokens: `Authorization: Bearer <token>`, stored hashed."""

from typing import Any

import knox.auth
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import exceptions


class TokenAuthentication(knox.auth.TokenAuthentication):
    """Knox's authentication, for which a token that isn't even text is merely a wrong one."""

    def authenticate_credentials(self, token: bytes) -> Any:
        try:
            return super().authenticate_credentials(token)
        except UnicodeDecodeError as error:
            raise exceptions.AuthenticationFailed("Invalid token.") from error


class TokenScheme(OpenApiAuthenticationExtension):
    """Describes the tokens in the OpenAPI schema."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}
