"""Compare two states of an object, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Changes = dict[str, dict[str, Any]]
"""The changed fields: `{"field": {"before": …, "after": …}}`.

`before` or `after` is omitted if it has no value.
"""


def diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> Changes:
    """Return the fields that differ between two states. None, "" and [] count as no value."""
    sides = {
        side: {name: value for name, value in state.items() if value not in (None, "", [])}
        for side, state in (("before", before), ("after", after))
    }
    return {
        name: {side: state[name] for side, state in sides.items() if name in state}
        for name in {**before, **after}
        if sides["before"].get(name) != sides["after"].get(name)
    }
