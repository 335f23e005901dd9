"""The base of models whose rows are never changed."""

from __future__ import annotations

from typing import Any

from django.db import models


class AppendOnlyModel(models.Model):
    """A model whose table has triggers that reject updates; see `activity.storage.append_only`."""

    class Meta:
        abstract = True

    def _do_update(self, *args: Any, **kwargs: Any) -> bool:  # type: ignore[override]
        """Don't try to update a row before it is inserted, as `loaddata` does."""
        return False
