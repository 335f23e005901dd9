"""The secret key of an installation that doesn't set `SECRET_KEY`."""

import os
from pathlib import Path

from django.core.management.utils import get_random_secret_key


def load_secret_key(path: Path) -> str:
    """Return the key stored at `path`. The first call creates the file, which only its owner can read.

    The file is created atomically, so processes that start at the same time use the same key.
    """
    if not path.exists():
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        with open(os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            file.write(get_random_secret_key())
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass  # another process created the file first, so use its key
        finally:
            temporary.unlink()
    return path.read_text()
