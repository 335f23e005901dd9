"""Model fields: references to rows that may no longer exist, time zones, and names of fields."""

from __future__ import annotations

from typing import Any

import timezone_field
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext as _


def name_fields(model: type[models.Model], **names: Any) -> None:
    """Give names that can be translated to fields that a base class of another package has declared.

    To declare the fields again would need a migration.
    """
    for field, name in names.items():
        model._meta.get_field(field).verbose_name = name  # type: ignore[union-attr]


class UnconstrainedForeignKey(models.ForeignKey):
    """A foreign key that has no constraint, no index and no reverse relation by default.

    Audit data outlives the rows that it refers to, so the row with the stored id may no longer exist.
    """

    def __init__(self, to: Any, on_delete: Any = models.DO_NOTHING, **kwargs: Any) -> None:
        defaults = {"db_constraint": False, "db_index": False, "related_name": "+"}
        super().__init__(to, on_delete, **{**defaults, **kwargs})


class TimeZoneField(timezone_field.TimeZoneField):
    """A time zone. Longer names than the column's are invalid, because no file system could look them up."""

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and len(value) > self.max_length:
            raise ValidationError(_("This time zone doesn't exist."))
        return super().to_python(value)
