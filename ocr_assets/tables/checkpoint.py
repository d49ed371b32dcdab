"""What a writer has finished and not committed yet, for whoever goes on or cleans up after it."""

import datetime as dt
import json
import os
import time
from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import polars as pl

from ocr_assets.tables.replace_file import replace_file
from ocr_assets.tables.storage_errors import UNREADABLE_PART

FOLDER = "_unfinished"  # Delta passes over what begins with an underscore

Parts = Sequence[tuple[str, int]]  # path relative to the table, and rows, of each


class WriterTooLateError(RuntimeError):
    """A writer gave no sign of life for so long that its parts may have been cleaned away."""


@dataclass(frozen=True)
class Note:
    """What a checkpoint's file says.

    Attributes:
        key: What the parts are made from and how; None: they are not to be resumed from.
        parts: Relative path and rows of the parts finished so far, in order.
        left_over: Names of files in the partition's folder that are of no use once the writer has
            committed: those it replaces, and what others have left there.
        written_at: When, in seconds since the epoch: the writer's last sign of life.
    """

    key: str | None
    parts: Parts
    left_over: list[str]
    written_at: float

    def names(self) -> set[str]:
        """The names of all files that it is about."""
        return {*self.left_over, *(PurePosixPath(relative).name for relative, _ in self.parts)}


class Checkpoint:
    """Parts of one partition, each with its number of rows, that were made from the same input.

    It is kept up to date part by part, so that a process may die at any time. Every writer has one,
    from before its first part until after its commit; its age is that of the writer's last sign of
    life. See `cleaning` for what becomes of it when it is old.
    """

    def __init__(
        self,
        table: Path,
        partition: str,
        writer_id: str,
        key: str | None,
        retention: dt.timedelta | None,
    ) -> None:
        """Names a checkpoint; nothing is written before the first part.

        Args:
            table: The table's folder.
            partition: The partition's folder in it.
            writer_id: The writer's, so that two writers do not write over each other.
            key: What the parts are made from and how; parts are reused under the same key alone.
                None: there is nothing to be reused.
            retention: When it may be cleaned away; None: never.
        """
        self._table = table
        self._partition = partition
        self._key = key
        self._retention = retention
        self._path = table / FOLDER / f"{partition}-{writer_id}.json"
        self._found: list[Path] = []
        self._last_sign: float | None = None

    def find(self, committed: Set[str]) -> Parts:
        """Relative path and rows of the parts that an earlier writer left, in order.

        They are noted here at once, so that nobody cleans them away.

        Args:
            committed: Names of the parts that are in the table; a checkpoint with such parts is
                one whose writer died between its commit and the end.
        """
        if self._key is None:
            return []
        self._last_sign = time.time()
        best: Parts = []
        for path in sorted((self._table / FOLDER).glob(f"{self._partition}-*.json")):
            note = read_note(path)
            if note is None or note.key != self._key or self._is_late(note.written_at):
                continue
            if any(PurePosixPath(relative).name in committed for relative, _ in note.parts):
                _write_ended(path, note.left_over)
                continue
            self._found.append(path)
            whole = all(_is_whole(self._table / relative, rows) for relative, rows in note.parts)
            if whole and len(note.parts) > len(best):
                best = note.parts
        if best:
            self.note(best)
        return best

    def note(self, parts: Parts, left_over: Collection[str] = ()) -> None:
        """Writes down the parts finished so far, and that the writer is alive.

        Args:
            parts: Relative path and rows of each.
            left_over: See `Note`.

        Raises:
            WriterTooLateError: The sign of life before this one was too long ago.
        """
        now = time.time()
        if self._last_sign is not None and self._is_late(self._last_sign):
            raise WriterTooLateError(
                f"no part of {self._partition} in {self._table} was finished for "
                f"{(now - self._last_sign) / 86_400:.1f} days, so what was finished before may be "
                "cleaned away by now"
            )
        self._last_sign = now
        _write(self._path, self._key, parts, left_over)

    def end(self, left_over: Collection[str]) -> None:
        """The parts are in the table now, and what is left over waits to be cleaned away."""
        _write_ended(self._path, left_over)
        for path in self._found:
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """There are no parts."""
        self._path.unlink(missing_ok=True)

    def _is_late(self, last_sign: float) -> bool:
        """Whether a writer has to take its parts for lost.

        That is at half the age at which they are cleaned away, so that nobody begins to use what a
        cleaner, on another host perhaps, is about to remove.
        """
        if self._retention is None:
            return False
        return time.time() - last_sign > self._retention.total_seconds() / 2


def read_note(path: Path) -> Note | None:
    """What a checkpoint's file says; None if it is gone."""
    try:
        with path.open(encoding="utf-8") as file:
            written_at = os.fstat(file.fileno()).st_mtime
            text = file.read()
    except FileNotFoundError:
        return None
    try:
        noted = json.loads(text)
        parts = [(str(relative), int(rows)) for relative, rows in noted["parts"]]
        return Note(noted["key"], parts, [*map(str, noted["left_over"])], written_at)
    except (ValueError, KeyError, TypeError):
        return Note(None, [], [], written_at)  # torn by a crash of the machine


def _write(path: Path, key: str | None, parts: Parts, left_over: Collection[str]) -> None:
    with replace_file(path) as file:
        json.dump({"key": key, "parts": [*parts], "left_over": sorted(left_over)}, file)


def _write_ended(path: Path, left_over: Collection[str]) -> None:
    if left_over:
        _write(path, None, [], left_over)
    else:
        path.unlink(missing_ok=True)


def _is_whole(part: Path, rows: int) -> bool:
    try:
        return bool(pl.scan_parquet(part, glob=False).select(pl.len()).collect().item() == rows)
    except UNREADABLE_PART:
        return False  # gone, or torn by a crash of the machine
