"""A model field for references to rows that may no longer exist."""

from __future__ import annotations

from typing import Any

from django.db import models


class UnconstrainedForeignKey(models.ForeignKey):
    """A foreign key that has no constraint, no index and no reverse relation by default.

    Audit data outlives the rows that it refers to, so the row with the stored id may no longer exist.
    """

    def __init__(self, to: Any, on_delete: Any = models.DO_NOTHING, **kwargs: Any) -> None:
        defaults = {"db_constraint": False, "db_index": False, "related_name": "+"}
        super().__init__(to, on_delete, **{**defaults, **kwargs})
