"""The folder for all files that the project writes. Only the account that runs the project may read it."""

import os
from contextlib import suppress
from pathlib import Path

OTHERS = 0o077
"""The permission bits of the group and of everybody else."""


def prepare(path: Path) -> None:
    """Create the folder if necessary, and keep other accounts out of it and out of all files in it.

    The files contain session keys, password hashes and events. This process will write no files that others
    can read, whichever library writes them. Files that an earlier version left readable are changed once.
    """
    os.umask(OTHERS)
    path.mkdir(parents=True, exist_ok=True)
    if path.stat().st_mode & OTHERS:
        for entry in [*path.rglob("*"), path]:  # the folder itself last, in case this is interrupted
            with suppress(FileNotFoundError):
                if not entry.is_symlink():
                    entry.chmod(entry.stat().st_mode & ~OTHERS)
