"""A made-up language: all texts that can be translated are written in Cyrillic letters.

Whatever has Latin letters on a page in this language is either data, or a text that nobody can translate.
"""

from __future__ import annotations

import gettext
import json
import os
import re
import shutil
import string
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import django.conf
from django.apps import apps
from django.test import override_settings

from tests.services import find_program

ROOT = Path(__file__).parent.parent
APPS = ("activity", "repositories", "msr_project")
LANGUAGE = "en-xa"
LANGUAGES_OF_OTHERS = ("de", "es", "fr", "ru")
"""The languages of Django and other libraries from which their texts are read: each has one of these."""

Catalog = dict[str, list[str]]
"""The texts of a source: a message, or the singular and the plural. A key can begin with a context."""

UNCHANGED = re.compile(r"%\(\w+\)[-#0+.\d]*\w|%[-#0+.\d]*[a-zA-Z%]|{[^{}]*}|<[^<>]*>|&#?\w+;")
"""Matches placeholders, elements and entities."""
OTHER_LETTERS = str.maketrans(
    string.ascii_lowercase + string.ascii_uppercase,
    "".join(chr(start + number) for start in (0x430, 0x410) for number in range(26)),
)


@contextmanager
def activated(folder: Path) -> Iterator[None]:
    """Make the made-up language that of the site. The folder is for its files."""
    catalog: Catalog = {}
    for path in _catalogs_of_others():
        catalog |= _untranslated(read_catalog(path.read_bytes()))
    for app in APPS:
        catalog |= read_catalog(_compile(extract_messages(app, folder)))
    _write_catalog(catalog, folder / "locale" / "en_XA" / "LC_MESSAGES")
    with override_settings(
        LANGUAGE_CODE=LANGUAGE, LANGUAGES=[(LANGUAGE, "Pseudo")], LOCALE_PATHS=[folder / "locale"]
    ):
        yield


def extract_messages(app: str, folder: Path) -> Path:
    """Write the messages in the source of an app to a new file in the folder, and return its path."""
    find_program("xgettext", "gettext")
    copy = folder / app
    unneeded = shutil.ignore_patterns("__pycache__", "locale", "migrations", "static")
    shutil.copytree(ROOT / app, copy, ignore=unneeded)
    (copy / "locale").mkdir()
    command = [sys.executable, "-m", "django", "makemessages", "--locale", "en", "--no-location"]
    # Django's command needs no settings, and can't import those of this project from the copy.
    environ = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    subprocess.run(command, cwd=copy, env=environ, check=True, capture_output=True)
    return copy / "locale" / "en" / "LC_MESSAGES" / "django.po"


def messages_of(path: Path) -> Catalog:
    """Return the messages of a source of translations."""
    return read_catalog(_compile(path))


def _compile(path: Path) -> bytes:
    """Return a compiled catalog that translates each message of a file to itself."""
    english = _gettext("msgen", str(path))
    return _gettext("msgfmt", "-", "-o", "-", content=english)


def read_catalog(content: bytes) -> Catalog:
    """Return the texts of a compiled catalog: those of the messages in the singular, then in the plural."""
    translations = gettext.GNUTranslations(BytesIO(content))
    catalog: Catalog = {}
    for key, text in translations._catalog.items():  # type: ignore[attr-defined]
        message = key[0] if isinstance(key, tuple) else key
        catalog.setdefault(message, []).append(text)
    catalog.pop("", None)
    return catalog


def _catalogs_of_others() -> Iterator[Path]:
    """Yield the paths of the compiled catalogs of Django and other libraries."""
    ours = {ROOT / app for app in APPS}
    folders = [Path(django.conf.__file__).parent, *(Path(app.path) for app in apps.get_app_configs())]
    for folder in folders:
        if folder not in ours:
            for language in LANGUAGES_OF_OTHERS:
                yield from folder.glob(f"locale/{language}/LC_MESSAGES/django.mo")


def _untranslated(catalog: Catalog) -> Catalog:
    """Return a library's catalog with its messages instead of their translations.

    It doesn't contain the messages in the plural.
    """
    return {key: [key.rpartition("\x04")[2]] * min(len(texts), 2) for key, texts in catalog.items()}


def pseudo_translate(text: str) -> str:
    """Return the text in the made-up language, with the same placeholders."""
    kept = UNCHANGED.findall(text)
    parts = [part.translate(OTHER_LETTERS) for part in UNCHANGED.split(text)]
    return "".join(part + unchanged for part, unchanged in zip(parts, [*kept, ""], strict=True))


def _write_catalog(catalog: Catalog, folder: Path) -> None:
    """Write a compiled catalog of the made-up language."""
    folder.mkdir(parents=True)
    header = "Content-Type: text/plain; charset=UTF-8\nPlural-Forms: nplurals=2; plural=(n != 1);\n"
    lines = ['msgid ""', f"msgstr {_quoted(header)}"]
    for key, texts in catalog.items():
        context, _, message = key.rpartition("\x04")
        lines += [f"msgctxt {_quoted(context)}"] if context else []
        lines.append(f"msgid {_quoted(message)}")
        if len(texts) == 1:
            lines.append(f"msgstr {_quoted(pseudo_translate(texts[0]))}")
        else:
            lines.append(f"msgid_plural {_quoted(texts[1])}")
            lines += [f"msgstr[{n}] {_quoted(pseudo_translate(text))}" for n, text in enumerate(texts[:2])]
    source = "\n".join(lines).encode()
    (folder / "django.mo").write_bytes(_gettext("msgfmt", "-", "-o", "-", content=source))


def _gettext(program: str, *arguments: str, content: bytes = b"") -> bytes:
    """Run one of gettext's programs with this input, and return its output."""
    command = [find_program(program, "gettext"), *arguments]
    return subprocess.run(command, input=content, check=True, capture_output=True).stdout


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
