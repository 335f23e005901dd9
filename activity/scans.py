"""The results of scans: what the details of a scan event say about an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

SEVERITIES = {
    "critical": _("%(number)s critical"),
    "high": _("%(number)s high"),
    "medium": _("%(number)s medium"),
    "low": _("%(number)s low"),
    "negligible": _("%(number)s negligible"),
    "unknown": _("%(number)s unknown"),
}
"""The details that contain the number of vulnerabilities of a severity, and what to say about the number."""
SCANNER = "scanner"
REPORT = "report"
"""The detail with the address of the scanner's report."""
MAX_DIGITS = 9


@dataclass(frozen=True)
class ScanResult:
    """What a scanner found."""

    counts: Mapping[str, int]
    """The number of vulnerabilities by severity, the worst first. Empty if the scanner sent none."""
    scanner: str
    report: str
    """The address of the report, or "" if there is none that a browser can open."""

    @classmethod
    def of(cls, details: Any) -> Self:
        """Return what the visible details of an event say. Details of the wrong form say nothing."""
        details = details if isinstance(details, dict) else {}
        counts = {severity: str(details.get(severity, "")) for severity in SEVERITIES}
        report = str(details.get(REPORT, ""))
        return cls(
            {severity: int(count) for severity, count in counts.items() if is_count(count)},
            str(details.get(SCANNER, "")),
            report if is_web_address(report) else "",
        )

    @property
    def details(self) -> frozenset[str]:
        """The names of the details that the result contains."""
        named = {SCANNER: self.scanner, REPORT: self.report}
        return frozenset(self.counts) | {name for name, value in named.items() if value}

    @property
    def summary(self) -> str:
        """The counts in words: `3 critical, 1 low`."""
        found = [SEVERITIES[severity] % {"number": count} for severity, count in self.counts.items() if count]
        return ", ".join(found) or (gettext("no vulnerabilities") if self.counts else "")


def wrong_details(details: Mapping[str, str]) -> list[str]:
    """Return what is wrong with the details of a scan that somebody sends."""
    wrong = [
        gettext("%(name)s must be a whole number of up to %(digits)s digits.")
        % {"name": severity, "digits": MAX_DIGITS}
        for severity in SEVERITIES
        if severity in details and not is_count(details[severity])
    ]
    if REPORT in details and not is_web_address(details[REPORT]):
        text = gettext("%(name)s must be an address that begins with http:// or https://.")
        wrong.append(text % {"name": REPORT})
    return wrong


def is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS


def is_web_address(text: str) -> bool:
    """Return whether a text is an address that is safe to link to."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc) and text.isprintable()
