"""Fixtures for the tests of auto-deletion, loaded as a plugin by the modules that use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from activity.deletion import archives, execution
from tests.deletion import use_storage


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use tiny batches and archives, so that a few events fill several, and don't pause between batches."""
    monkeypatch.setattr(execution, "PAUSE", 0)
    monkeypatch.setattr(execution, "BATCH_SIZE", 2)
    monkeypatch.setattr(execution, "MAX_EVENTS_OF_DAYS", 1)
    monkeypatch.setattr(archives, "MAX_EVENTS", 4)


@pytest.fixture
def archive_folder(tmp_path: Path, settings: Any) -> Path:
    """The folder that archives are stored in."""
    folder = tmp_path / "archives"
    use_storage(settings, folder)
    return folder
