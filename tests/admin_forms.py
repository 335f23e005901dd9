"""Form data for admin pages that have inline formsets."""

from __future__ import annotations

from typing import Any


def empty_formsets(*prefixes: str) -> dict[str, Any]:
    """Return the management form data for empty inline formsets. Submitting such formsets changes nothing."""
    return {f"{prefix}-{part}_FORMS": 0 for prefix in prefixes for part in ("TOTAL", "INITIAL")}


def grant_prefixes(kind: str = "repository") -> tuple[str, str]:
    """Return the prefixes of the formsets for grants to users and for grants to teams."""
    return f"{kind}userpermission_set", f"{kind}grouppermission_set"
