"""Form fields that pick a related object by typing, in whatever admin site they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class PickerMixin:
    """Lets people search for related objects, if the site's admin can search for them.

    A site can lack an admin for users or groups, or have one that can't search. People then type the id.
    """

    picked_fields: Sequence[str] = ()
    model: Any
    admin_site: Any

    def _searched(self) -> list[str]:
        return [name for name in self.picked_fields if self._can_search(name)]

    def _typed(self) -> list[str]:
        return [name for name in self.picked_fields if not self._can_search(name)]

    autocomplete_fields: Any = property(_searched)
    raw_id_fields: Any = property(_typed)

    def _can_search(self, name: str) -> bool:
        return can_search(self.model._meta.get_field(name).related_model, self.admin_site)


def can_search(model: Any, admin_site: Any) -> bool:
    """Return whether an admin site can search for the objects of a model."""
    return admin_site.is_registered(model) and bool(admin_site.get_model_admin(model).search_fields)
