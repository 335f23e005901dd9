"""The signing key of an installation whose operator gave none."""

import os
from pathlib import Path

from django.core.management.utils import get_random_secret_key


def load_secret_key(path: Path) -> str:
    """Return the key kept at `path`, made at the first call and readable by its owner alone.

    The file appears whole or not at all, so that processes that start together agree on one key.
    """
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        with open(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            file.write(get_random_secret_key())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another process was first: its key counts
        finally:
            draft.unlink()
    return path.read_text()
