"""Parses the values of search terms."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple
from uuid import UUID

from django.utils.translation import gettext

from activity.catalogue import KINDS, Type
from activity.models import ActorType
from repositories import names
from repositories.access.levels import Category
from repositories.utils.addresses import canonical_host

PART_OF_DIGEST = re.compile(r"[a-z][a-z0-9]*([-_+.][a-z][a-z0-9]*)*:[0-9a-f]+")


class InvalidTerm(ValueError):
    """A term that can't be parsed. The message says why and is shown to the user."""


def read_repository(value: str) -> str:
    """Parse a repository, with or without a tag or a digest: `acme/web`, `acme/web:v1`, `_/alpine`.

    A digest identifies an image by itself, so a tag before it is left out, as clients do.
    """
    value = names.without_scheme(value).removeprefix(f"{names.LIBRARY}/")
    value, digest = names.split_digest(value)
    if digest:
        return f"{read_repository(names.split_reference(value)[0])}@{read_digest(digest)}"
    name, colon, tag = value.partition(":")
    if "/" not in name and names.is_name(name.lower()):
        value = f"{name.lower()}{colon}{tag}"
    if not names.is_name(names.split_reference(value)[0]):
        text = gettext(
            "'%(value)s' is not a repository like acme/web, or a repository with a tag like acme/web:v1."
        )
        raise InvalidTerm(text % {"value": value})
    return value


class Image(NamedTuple):
    """The parts of a repository's name with a tag or a digest, such as `acme/web:v1`."""

    repository: str = ""
    tag: str = ""
    digest: str = ""


def split_image(value: str) -> Image:
    """Split what `read_repository` returns."""
    value, digest = names.split_digest(value)
    return Image(value, "", digest) if digest else Image(*names.split_reference(value))


def read_namespace(value: str) -> str:
    if value != names.LIBRARY and not names.is_namespace(value):
        raise InvalidTerm(
            gettext("namespace:%(value)s is not a namespace like acme, or _ for none.") % {"value": value}
        )
    return value


def read_organization(value: str) -> str:
    if not names.is_namespace(value):
        raise InvalidTerm(
            gettext("organization:%(value)s is not the name of an organization, like acme.")
            % {"value": value}
        )
    return value


def read_tag(value: str) -> str:
    if names.is_name(names.split_reference(value)[0]) and ":" in value:
        raise InvalidTerm(
            gettext("tag:%(value)s contains a repository. Write repo:%(value)s.") % {"value": value}
        )
    if not names.is_tag(value):
        raise InvalidTerm(gettext("tag:%(value)s is not a tag like v1.") % {"value": value})
    return value


def read_digest(value: str) -> str:
    """Parse a digest or the beginning of one. The default algorithm is SHA-256."""
    value = value.removesuffix("…").lower()
    value = value if ":" in value else f"sha256:{value}"
    if not PART_OF_DIGEST.fullmatch(value) or len(value) > names.MAX_DIGEST_LENGTH:
        raise InvalidTerm(
            gettext("digest:%(value)s is not a digest or the beginning of one, like sha256:09ab.")
            % {"value": value}
        )
    return value


def read_label(value: str) -> str:
    if not kinds_with_label(value):
        raise InvalidTerm(
            gettext("label:%(value)s: no label contains all of these words.") % {"value": value}
        )
    return value


def read_address(value: str) -> str:
    """Parse an IP address in any form. Events contain addresses in canonical form."""
    try:
        return canonical_host(str(ipaddress.ip_address(value.strip("[]"))))
    except ValueError:
        raise InvalidTerm(
            gettext("ip:%(value)s is not an IP address like 10.0.0.7 or fd00::7.") % {"value": value}
        ) from None


def read_id(value: str) -> str:
    try:
        return str(UUID(value))
    except ValueError:
        raise InvalidTerm(gettext("id:%(value)s is not an event ID.") % {"value": value}) from None


CHOICES: dict[str, Mapping[str, str]] = {
    "actor-type": {type.value: type.value for type in ActorType},
    "type": {type.value.lower(): type.value for type in Type},
    "category": {category.value: category.value for category in Category},
    "kind": {key: key for key in KINDS},
}
"""The values of the qualifiers that have a fixed set of values, by how they can be written."""


def choice_reader(name: str) -> Callable[[str], str]:
    """Return a reader for a fixed set of values. The reader ignores case, and accepts `-` instead of `_`."""
    choices = CHOICES[name]

    def read_choice(value: str) -> str:
        found = choices.get(_folded(value))
        if found is None:
            elsewhere = [term for term in terms_for_word(value) if not term.startswith(f"{name}:")]
            near = difflib.get_close_matches(_folded(value), choices, n=1)
            suggested = gettext(" or ").join(elsewhere or near)
            if suggested:
                text = gettext("%(term)s is not valid. Did you mean %(suggested)s?")
            else:
                text = gettext("%(term)s is not valid. Valid values: %(values)s.")
            words = {"suggested": suggested, "values": ", ".join(choices)}
            raise InvalidTerm(text % {"term": f"{name}:{value}", **words})
        return found

    return read_choice


def terms_for_word(word: str) -> list[str]:
    """Return the terms that words of the catalogue could stand for, such as `type:delete`."""
    terms = [f"{name}:{word}" for name, choices in CHOICES.items() if _folded(word) in choices]
    wanted = set(word.lower().split())
    if any(wanted <= set(kind.english_label.lower().split()) for kind in KINDS.values()):
        terms.append(f'label:"{word}"' if " " in word else f"label:{word}")
    return terms


def _folded(value: str) -> str:
    return value.lower().replace("-", "_")


def kinds_with_label(words: str) -> list[str]:
    """Return the kinds whose labels contain all of these words."""
    wanted = words.lower().split()
    return [kind.key for kind in KINDS.values() if all(word in kind.english_label.lower() for word in wanted)]
