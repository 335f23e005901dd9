"""The namespaces and repositories that an access token is restricted to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from repositories import names

WHOLE_NAMESPACE = "/*"
MAX_LINES = 50


@dataclass(frozen=True)
class Restriction:
    """The names of namespaces and repositories. Names are kept, so that they can be those of future ones."""

    namespaces: frozenset[str]
    repositories: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse one name per line: `acme/*` is a namespace, `acme/web` and `alpine` are repositories."""
        lines = set(text.split())
        namespaces = {line.removesuffix(WHOLE_NAMESPACE) for line in lines if line.endswith(WHOLE_NAMESPACE)}
        return cls(
            frozenset(namespaces), frozenset(line for line in lines if not line.endswith(WHOLE_NAMESPACE))
        )

    @property
    def lines(self) -> list[str]:
        return sorted([*(f"{name}{WHOLE_NAMESPACE}" for name in self.namespaces), *self.repositories])

    def includes(self, full_name: str) -> bool:
        """Return whether the repository with this name is one of them."""
        return full_name in self.repositories or names.split_name(full_name)[0] in self.namespaces


def validate_restriction(text: str) -> None:
    """Raise ValidationError if a line is neither the name of a repository nor that of a namespace."""
    lines = text.split()
    if len(lines) > MAX_LINES:
        raise ValidationError(_("At most %(number)s lines are allowed."), params={"number": MAX_LINES})
    for line in lines:
        namespace = line.removesuffix(WHOLE_NAMESPACE)
        if not (names.is_namespace(namespace) if namespace != line else names.is_name(line)):
            message = _(
                "%(line)s is neither a repository, such as acme/web, nor a namespace, such as acme/*."
            )
            raise ValidationError(message, params={"line": line})
