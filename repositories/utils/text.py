"""Text that every supported database can store."""

import re

UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Return whether every supported database can store the text: no NUL, no unpaired surrogates."""
    return not UNSTORABLE.search(text)
