"""Paths in tables, whose text is UTF-8, which file names need not be."""

import os
from typing import Any


def stored_path(path: str, path_bytes: bytes | None) -> str:
    """A path as Python has it, from the columns `path` and `path_bytes`."""
    return path if path_bytes is None else os.fsdecode(path_bytes)


def stored_paths(row: dict[str, Any]) -> list[str]:
    """The same for the videos of a sample, from a row of `filtered_dataset`."""
    data = row["path_bytes"] or [None] * len(row["paths"])
    return list(map(stored_path, row["paths"], data))
