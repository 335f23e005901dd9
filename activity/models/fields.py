"""Fields and indexes that take only a few bytes in the database, such as texts that are stored as numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import copy
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.db.models.expressions import Col
from django.db.models.lookups import Exact, In, Lookup

from activity import catalogue
from activity.catalogue import CATEGORY_NUMBERS, KINDS, UNKNOWN
from repositories.access.levels import Category

PULL_PART = "pull_part"
"""The category in which tallies count the events that are part of another pull."""


class NumberedField(models.Field):
    """A field for one of several fixed texts, each of which has a number in the database.

    A number that has no text, for example because a newer version of this application wrote it, is read as
    a text like `unknown_300`.
    """

    numbers: ClassVar[Mapping[str, int]]
    texts: ClassVar[Mapping[int, str]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.texts = {number: text for text, number in cls.numbers.items()}

    def get_internal_type(self) -> str:
        return "SmallIntegerField"

    def from_db_value(self, value: int | None, expression: Any, connection: Any) -> str | None:
        return None if value is None else self.texts.get(value, f"{UNKNOWN}_{value}")

    def to_python(self, value: Any) -> str | None:
        if value is not None and self._number_of(value) is None:
            raise ValidationError(f"{value!r} is not a valid {self.verbose_name}.")
        return value

    def get_prep_value(self, value: Any) -> int | None:
        """Return the number of a text. A text without a number is equal to no value in the database."""
        if value is None:
            return None
        number = self._number_of(value)
        return -1 if number is None else number

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        return value if hasattr(value, "as_sql") else self.get_prep_value(self.to_python(value))

    def _number_of(self, text: Any) -> int | None:
        if (number := self.numbers.get(str(text))) is not None:
            return number
        match = re.fullmatch(rf"{UNKNOWN}_([1-9][0-9]{{0,3}})", str(text))
        return int(match[1]) if match and int(match[1]) not in self.texts else None


class KindField(NumberedField):
    """The kind of an event: a key of the catalogue."""

    numbers: ClassVar[Mapping[str, int]] = {kind.key: kind.number for kind in KINDS.values()}


class TalliedCategoryField(NumberedField):
    """The category in which tallies count events."""

    numbers: ClassVar[Mapping[str, int]] = {**CATEGORY_NUMBERS, PULL_PART: 20}


class CategoryField(models.Field):
    """The category of an event, which follows from its kind. It has no column of its own.

    A condition on categories becomes a condition on kinds, and on whether events are pulls. It can use the
    indexes of both, and lets PostgreSQL skip partitions. Events of unknown kinds meet no such condition.
    """

    numbers = CATEGORY_NUMBERS
    texts: ClassVar[Mapping[int, str]] = {number: text for text, number in CATEGORY_NUMBERS.items()}

    def contribute_to_class(self, cls: type[models.Model], name: str, private_only: bool = False) -> None:
        super().contribute_to_class(cls, name, private_only=True)
        setattr(cls, name, property(lambda event: catalogue.category_of(event.kind)))

    def get_attname_column(self) -> tuple[str, Any]:
        return self.get_attname(), None

    def get_col(self, alias: str | None, output_field: models.Field | None = None) -> Col:
        field = copy(self)  # the copy has a column, so Django reads its values from the query's result
        field.column = "kind"
        return CategoryOfKind(alias, field)  # type: ignore[arg-type]

    def get_prep_value(self, value: Any) -> str:
        return str(value)

    def from_db_value(self, value: int, expression: Any, connection: Any) -> str:
        return self.texts[value]


def category_sql(kind: str) -> str:
    """Return the SQL expression for the number of the category of a kind, given the kind's column."""
    whens = [
        f"WHEN {kind} IN ({_kind_numbers([category])}) THEN {number}"
        for category, number in CATEGORY_NUMBERS.items()
        if category != UNKNOWN
    ]
    return f"CASE {' '.join(whens)} ELSE {CATEGORY_NUMBERS[UNKNOWN]} END"


class CategoryOfKind(Col):
    """The number of an event's category, calculated from the column of its kind."""

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple]:
        kind, params = super().as_sql(compiler, connection)
        return category_sql(kind), tuple(params)


class _HasCategory:
    """A condition on the category of events."""

    lhs: Any
    categories: set[str]

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple]:
        quote = compiler.quote_name_unless_alias
        kind, is_pull = (f"{quote(self.lhs.alias)}.{quote(column)}" for column in ("kind", "is_pull"))
        numbers = _kind_numbers(self.categories)
        if not numbers:
            return "1 = 0", ()
        lane = "" if Category.PULL in self.categories else f"NOT {is_pull} AND "
        if self.categories == {Category.PULL.value}:
            lane = f"{is_pull} AND "
        # PostgreSQL checks whether the event is a pull first, which takes less time than to look up its kind.
        return f"({lane}{kind} IN ({numbers}))", ()


@CategoryField.register_lookup
class InCategories(_HasCategory, In):
    @property
    def categories(self) -> set[str]:  # type: ignore[override]
        return set(self.rhs)


@CategoryField.register_lookup
class InCategory(_HasCategory, Exact):
    @property
    def categories(self) -> set[str]:  # type: ignore[override]
        return {self.rhs}


def _kind_numbers(categories: Any) -> str:
    return ", ".join(str(kind.number) for kind in catalogue.kinds_of(categories))


SHA256 = "sha256:"
SHA256_MARK = b"\0"
"""The first byte of stored SHA-256 digests. No text contains this character."""
_SHA256_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class DigestField(models.CharField):
    """A digest. SHA-256 digests take 34 bytes instead of 72, and all others are stored as text."""

    def get_internal_type(self) -> str:
        return "BinaryField"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> str | None:
        if value is None:
            return None
        stored = bytes(value)
        return SHA256 + stored[1:].hex() if stored.startswith(SHA256_MARK) else stored.decode()

    def get_prep_value(self, value: Any) -> bytes | None:
        text = super().get_prep_value(value)
        if text is None:
            return None
        if _SHA256_DIGEST.fullmatch(text):
            return SHA256_MARK + bytes.fromhex(text.removeprefix(SHA256))
        return text.encode("utf-8", "surrogatepass")


@DigestField.register_lookup
class DigestStartsWith(Lookup):
    """A condition on the beginning of digests, as two ranges: one of SHA-256 digests, and one of texts."""

    lookup_name = "startswith"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple]:
        column, params = compiler.compile(self.lhs)
        start, text = self.rhs, self.rhs.encode("utf-8", "surrogatepass")
        lowest, highest = (
            self.lhs.output_field.get_prep_value(start + (SHA256 + digit * 64)[len(start) :])
            for digit in "0f"
        )
        sql = f"({column} BETWEEN %s AND %s OR {column} >= %s AND {column} < %s)"
        return sql, (*params, lowest, highest, *params, text, *params, text + b"\xff")


WITHOUT_PULLS = Q(is_pull=False)


class IndexWithoutPulls(models.Index):
    """An index of the events that aren't pulls. Its condition includes `WITHOUT_PULLS`.

    On PostgreSQL, it is an index of the partitions of these events, and needs no condition on `is_pull`. See
    `activity.storage.partitions`.
    """

    def create_sql(
        self, model: type[models.Model], schema_editor: Any, using: str = "", **kwargs: Any
    ) -> Any:
        if schema_editor.connection.vendor != "postgresql":
            return super().create_sql(model, schema_editor, using=using, **kwargs)
        condition: Any = self.condition
        rest = [child for child in condition.children if child not in WITHOUT_PULLS.children]
        index = models.Index(fields=self.fields, name=self.name, condition=Q(*rest) if rest else None)
        statement: Any = index.create_sql(model, schema_editor, using=using, **kwargs)
        statement.parts["table"] = schema_editor.quote_name(f"{model._meta.db_table}_other")
        return statement


class SQLiteIndex(models.Index):
    """An index that exists only on SQLite, because the partitions on PostgreSQL have the same one anyway."""

    def create_sql(
        self, model: type[models.Model], schema_editor: Any, using: str = "", **kwargs: Any
    ) -> Any:
        if schema_editor.connection.vendor == "postgresql":
            return f"-- {self.name} is not needed"
        return super().create_sql(model, schema_editor, using=using, **kwargs)


class BlockRangeIndex(models.Index):
    """A BRIN index on PostgreSQL, and an ordinary index on SQLite. Django's own needs its PostgreSQL app.

    PostgreSQL summarizes new pages within about a minute. By default, it would do so when it vacuums the
    table, and until then, each query would read all pages since: up to a fifth of a month.
    """

    def create_sql(
        self, model: type[models.Model], schema_editor: Any, using: str = "", **kwargs: Any
    ) -> Any:
        if schema_editor.connection.vendor != "postgresql":
            return super().create_sql(model, schema_editor, using=using, **kwargs)
        statement: Any = super().create_sql(model, schema_editor, using=" USING brin", **kwargs)
        statement.parts["extra"] = f" WITH (autosummarize = on){statement.parts['extra']}"
        return statement
