"""Model fields."""

from __future__ import annotations

from typing import Any

from django.db import models


class UnconstrainedForeignKey(models.ForeignKey):
    """A foreign key without a constraint, an index or, by default, a reverse relation.

    Rows of audit data outlive the rows that they refer to, so a reference may point to nothing.
    """

    def __init__(self, to: Any, on_delete: Any = models.DO_NOTHING, **kwargs: Any) -> None:
        defaults = {"db_constraint": False, "db_index": False, "related_name": "+"}
        super().__init__(to, on_delete, **{**defaults, **kwargs})
