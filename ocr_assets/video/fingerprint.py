"""The identity of a file's content."""

import hashlib
from pathlib import Path


def fingerprint(path: str | Path) -> str:
    """A stable id of a file's content: equal files, and only they, have equal ids.

    Returns:
        32 hexadecimal digits (BLAKE2b, 128 bits).

    Raises:
        OSError: The file cannot be read.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
