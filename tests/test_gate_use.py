"""All code that reads events for a viewer starts with a queryset from the permission gate."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db.models import ForeignKey

from activity.models import Event

ROOT = Path(__file__).parent.parent
WITHOUT_GATE = ("activity/storage/", "activity/deletion/", "activity/migrations/")
"""The folders whose code writes and deletes events. This code never shows events to a viewer."""
GATES = {"visible_to", "for_own_account", "none"}
EXCEPTIONS = [
    # What is read from this queryset is combined with a queryset from the gate.
    ("activity/feed/plans.py", "Event.objects.all"),
    # This query only checks which events have already been recorded. It shows them to nobody.
    ("activity/recording/record.py", "Event.objects.filter"),
]


def uses_of_managers(source: str) -> Iterator[str]:
    """Yield each use of an event manager, including the method called on it, e.g. `Event.objects.filter`."""
    tree = ast.parse(source)
    used_on = {node.value: node for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in used_on.values():
        if isinstance(node.value, ast.Name | ast.Attribute) and ast.unparse(node).endswith(
            ("Event.objects", "Event._default_manager", "Event._base_manager")
        ):
            yield ast.unparse(used_on.get(node, node))


def test_code_that_reads_events_starts_at_the_gate() -> None:
    paths = {str(path.relative_to(ROOT)): path for path in (ROOT / "activity").rglob("*.py")}
    found = [
        (name, use)
        for name, path in paths.items()
        if not name.startswith(WITHOUT_GATE)
        for use in uses_of_managers(path.read_text())
        if use.rpartition(".")[2] not in GATES
    ]

    assert sorted(found) == EXCEPTIONS


@pytest.mark.parametrize(
    ("source", "uses"),
    [
        ("Event.objects.visible_to(access).filter(a=1)", ["Event.objects.visible_to"]),
        ("models.Event.objects.all()", ["models.Event.objects.all"]),
        ("Event._default_manager.filter()", ["Event._default_manager.filter"]),
        ("read(Event.objects)", ["Event.objects"]),
        ("DeadLetter.objects.all()", []),
    ],
)
def test_uses_of_managers_are_found(source: str, uses: list[str]) -> None:
    assert list(uses_of_managers(source)) == uses


def test_no_other_model_has_an_attribute_for_its_events() -> None:
    references = [field for field in Event._meta.fields if isinstance(field, ForeignKey)]

    assert references
    assert all(field.remote_field.hidden for field in references)
