"""Fixtures for the auto-deletion tests. Test modules that use the fixtures load this module as a plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from activity.deletion import archive_files, execution
from tests.deletion import use_storage


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make batches and archives so small that a few events fill several of them, and disable pauses."""
    monkeypatch.setattr(execution, "PAUSE", 0)
    monkeypatch.setattr(execution, "BATCH_SIZE", 2)
    monkeypatch.setattr(execution, "MAX_EVENTS_OF_DAYS", 1)
    monkeypatch.setattr(archive_files, "MAX_EVENTS", 4)


@pytest.fixture
def archive_folder(tmp_path: Path, settings: Any) -> Path:
    """The folder in which archives are stored."""
    folder = tmp_path / "archives"
    use_storage(settings, folder)
    return folder
