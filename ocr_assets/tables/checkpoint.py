"""The list of parts that a writer has finished and not committed yet, for whoever goes on."""

import json
from collections.abc import Sequence, Set
from pathlib import Path, PurePosixPath

import polars as pl

from ocr_assets.tables.replace_file import replace_file

FOLDER = "_unfinished"  # Delta passes over what begins with an underscore


class Checkpoint:
    """Parts of one partition, each with its number of rows, that were made from the same input.

    It is kept up to date part by part, so that a process may die at any time.
    """

    def __init__(self, table: Path, partition: str, writer_id: str, key: str) -> None:
        """Names a checkpoint; nothing is written before the first part.

        Args:
            table: The table's folder.
            partition: The partition's folder in it.
            writer_id: The writer's, so that two writers do not write over each other.
            key: What the parts are made from and how; parts are reused under the same key alone.
        """
        self._table = table
        self._partition = partition
        self._key = key
        self._path = table / FOLDER / f"{partition}-{writer_id}.json"
        self._found: list[Path] = []

    def find(self, committed: Set[str]) -> list[tuple[str, int]]:
        """Relative path and rows of the parts that an earlier writer left, in order.

        Args:
            committed: Names of the parts that are in the table; a checkpoint with such parts is
                one whose writer died between its commit and the end.
        """
        best: list[tuple[str, int]] = []
        for path in sorted((self._table / FOLDER).glob(f"{self._partition}-*.json")):
            try:
                noted = json.loads(path.read_text())
                parts = [(str(relative), int(rows)) for relative, rows in noted["parts"]]
            except (OSError, ValueError, KeyError, TypeError):
                continue  # its writer has just committed, or a crash of the machine tore it
            if any(PurePosixPath(relative).name in committed for relative, _ in parts):
                path.unlink(missing_ok=True)
            elif noted.get("key") == self._key:
                self._found.append(path)
                whole = all(_is_whole(self._table / relative, rows) for relative, rows in parts)
                if whole and len(parts) > len(best):
                    best = parts
        return best

    def note(self, parts: Sequence[tuple[str, int]]) -> None:
        """Writes down the parts finished so far."""
        with replace_file(self._path) as file:
            json.dump({"key": self._key, "parts": list(parts)}, file)

    def remove(self) -> None:
        """The parts are in the table now."""
        for path in (self._path, *self._found):
            path.unlink(missing_ok=True)


def _is_whole(part: Path, rows: int) -> bool:
    try:
        return bool(pl.scan_parquet(part, glob=False).select(pl.len()).collect().item() == rows)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return False  # gone, or torn by a crash of the machine
