"""Counting without reading all rows."""

from typing import Any

from django.core.paginator import Paginator
from django.utils.functional import cached_property


class CappedPaginator(Paginator):
    """Counts no further than `CAP`: counting 20 million rows takes 3.7 s."""

    CAP = 10_000

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        count = rows.order_by()[: self.CAP + 1].values("pk").count()
        return count if count <= self.CAP else MoreThan(self.CAP)


class MoreThan(int):
    """A number that is only the least there is, and says so where it is shown."""

    def __str__(self) -> str:
        return f"more than {int(self):,}"
