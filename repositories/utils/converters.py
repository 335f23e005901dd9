"""A URL converter for names that can contain any character."""

import re

from django.urls import register_converter

_ESCAPED = re.compile(r"(?:~[0-9A-F]{2})+")
_UNSAFE = re.compile(r"[/~?#%\\\x00-\x1f\x7f]+|^\.{1,2}\Z")


class NameConverter:
    """A name in one segment of a URL. Characters that would end the segment are written as `~2F`.

    Percent-encoding doesn't help, because servers decode it before Django looks for the slashes. Browsers and
    proxies remove the segments `.` and `..`.
    """

    regex = "[^/]+"

    def to_python(self, value: str) -> str:
        def unescape(match: re.Match[str]) -> str:
            return bytes.fromhex(match[0].replace("~", "")).decode()

        try:
            return _ESCAPED.sub(unescape, value)
        except UnicodeDecodeError as error:
            raise ValueError from error  # the URL matches no page

    def to_url(self, value: str) -> str:
        def escape(match: re.Match[str]) -> str:
            return "".join(f"~{byte:02X}" for byte in match[0].encode())

        return _UNSAFE.sub(escape, value)


register_converter(NameConverter, "name")
