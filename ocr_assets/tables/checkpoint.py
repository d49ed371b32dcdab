"""What a writer has finished and not committed yet, for whoever goes on or cleans up after it."""

import dataclasses
import datetime as dt
import json
import threading
import time
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass

from ocr_assets.tables.folder import Folder
from ocr_assets.tables.part import Part

FOLDER = "_unfinished"  # Delta passes over what begins with an underscore
# A note has all units, so that one a unit would take a time that grows with their square.
NOTED_AT_ONCE = 64  # units, as long as there are no more
TIMES_A_NOTE = 10  # as long as a note took, it is at least to the next one beyond that

Units = Mapping[int, tuple[Part, ...]]  # the parts of each


class WriterTooLateError(RuntimeError):
    """A writer gave no sign of life for so long that its parts may have been cleaned away."""


@dataclass(frozen=True)
class Note:
    """What a checkpoint's file says.

    Attributes:
        key: What the parts are made from and how; None: they are not to be resumed from.
        units: The units finished so far, with all parts of each.
        left_over: Names of files in the partition's folder that are of no use once the writer has
            committed: those it replaces, and what others have left there.
        is_shared: Whether others may still leave parts of this writer there.
        written_at: When, in seconds since the epoch: the writer's last sign of life.
    """

    key: str | None
    units: Units
    left_over: list[str]
    is_shared: bool
    written_at: float

    @property
    def parts(self) -> list[Part]:
        """The parts of all units, in order."""
        return in_order(self.units)

    def names(self) -> set[str]:
        """The names of all files that it is about."""
        return {*self.left_over, *(part.name for part in self.parts)}


class Checkpoint:
    """Units of one partition, each with its parts, that were made from the same input.

    It is kept up to date unit by unit, so that a process may die at any time: a few units at once,
    beyond that with a delay in proportion to what it costs. Every writer has one, from before its
    first part until after its commit; its age is that of the writer's last sign of life. See
    `cleaning` for what becomes of it when it is old.

    Attributes:
        units: The units finished so far, with all parts of each.
    """

    def __init__(
        self,
        table: Folder,
        partition: str,
        writer_id: str,
        key: str | None,
        retention: dt.timedelta | None,
        *,
        is_shared: bool,
    ) -> None:
        """Names a checkpoint; nothing is written before it is begun.

        Args:
            table: The table's folder.
            partition: The partition's folder in it.
            writer_id: The writer's, so that two writers do not write over each other.
            key: What the parts are made from and how; parts are reused under the same key alone.
                None: there is nothing to be reused.
            retention: When it may be cleaned away; None: never.
            is_shared: Whether other processes write parts for the writer, and may do so when it is
                gone. It is kept until it is old, then.
        """
        self.units: dict[int, tuple[Part, ...]] = {}
        self._table = table
        self._partition = partition
        self._key = key
        self._retention = retention
        self._is_shared = is_shared
        self._name = f"{FOLDER}/{partition}-{writer_id}.json"
        self._found: dict[str, Note] = {}
        self._last_sign: float | None = None
        self._is_noted = False
        self._may_be_there = False  # a note that failed may be there all the same
        self._lock = threading.Lock()  # over what follows, and `units`
        self._next_note = 0.0  # by time.monotonic()
        self._delayed: threading.Timer | None = None
        self._failed: Exception | None = None

    def find(self, committed: Set[str]) -> None:
        """Takes over the units that an earlier writer left.

        They are noted here at once, so that nobody cleans them away.

        Args:
            committed: Names of the parts that are in the table; a checkpoint with such parts is
                one whose writer died between its commit and the end.
        """
        if self._key is None:
            return
        self._last_sign = time.time()
        best: Units = {}
        for name, note in read_notes(self._table, self._partition).items():
            if note.key != self._key or self._is_late(note.written_at):
                continue
            if any(part.name in committed for part in note.parts):
                _write_ended(self._table, name, note.left_over, note.is_shared)
                continue
            self._found[name] = note
            if len(note.units) > len(best) and self._are_whole(note.parts):
                best = note.units
        if best:
            self.units = dict(best)
            self.note()

    def begin(self) -> None:
        """From here on there may be something to clean away."""
        if not self._is_noted:
            self.note()

    def add(self, unit: int, parts: Sequence[Part]) -> None:
        """Notes that a unit is finished, now or in a moment.

        Raises:
            WriterTooLateError: As for `note`.
            OSError: An earlier note that was to be written in a moment could not be.
        """
        with self._lock:
            if self._failed is not None:
                raise self._failed
            self.units[unit] = tuple(parts)
            wait_seconds = self._next_note - time.monotonic()
            if len(self.units) <= NOTED_AT_ONCE or wait_seconds <= 0:
                self._note()
            elif self._delayed is None:
                self._delayed = threading.Timer(wait_seconds, self._note_delayed)
                self._delayed.daemon = True  # a writer that is never left must not keep its process
                self._delayed.start()

    def note(self, left_over: Collection[str] = ()) -> None:
        """Writes down the units finished so far, and that the writer is alive.

        Args:
            left_over: See `Note`.

        Raises:
            WriterTooLateError: The sign of life before this one was too long ago.
        """
        with self._lock:
            self._note(left_over)

    def leave(self) -> None:
        """Notes what is finished and not noted; the writer stops without a commit.

        Raises:
            WriterTooLateError: As for `note`.
            OSError: It cannot be written.
        """
        with self._lock:
            if self._delayed is not None:
                self._note()

    def end(self, left_over: Collection[str]) -> None:
        """The parts are in the table now, and what is left over waits to be cleaned away."""
        _write_ended(self._table, self._name, left_over, self._is_shared)
        for name, note in self._found.items():
            _write_ended(self._table, name, (), note.is_shared)

    def remove(self) -> None:
        """There are no parts."""
        with self._lock:
            self._cancel_delayed()
        if self._may_be_there:
            _write_ended(self._table, self._name, (), self._is_shared)

    def _note(self, left_over: Collection[str] = ()) -> None:
        self._cancel_delayed()
        now = time.time()
        if self._last_sign is not None and self._is_late(self._last_sign):
            raise WriterTooLateError(
                f"no part of {self._partition} in {self._table.uri} was finished for "
                f"{(now - self._last_sign) / 86_400:.1f} days, so what was finished before may be "
                "cleaned away by now"
            )
        began = time.monotonic()
        self._may_be_there = True
        _write(self._table, self._name, self._key, self.units, left_over, self._is_shared)
        self._is_noted = True
        self._last_sign = now
        ended = time.monotonic()
        self._next_note = ended + TIMES_A_NOTE * (ended - began)

    def _note_delayed(self) -> None:
        with self._lock:
            if self._delayed is not threading.current_thread():
                return  # what it was to note is noted
            try:
                self._note()
            except Exception as error:  # told to whoever adds the next unit
                self._failed = error

    def _cancel_delayed(self) -> None:
        if self._delayed is not None:
            self._delayed.cancel()
            self._delayed = None

    def _is_late(self, last_sign: float) -> bool:
        """Whether a writer has to take its parts for lost.

        That is at half the age at which they are cleaned away, so that nobody begins to use what a
        cleaner, on another host perhaps, is about to remove.
        """
        if self._retention is None:
            return False
        return time.time() - last_sign > self._retention.total_seconds() / 2

    def _are_whole(self, parts: Sequence[Part]) -> bool:
        """Whether all are there with the size they were written with.

        A part gets its name when it is on the disk, so that it cannot be torn.
        """
        found = self._table.entries(self._partition) if parts else []
        sizes = {entry.name: entry.size_bytes for entry in found}
        return all(sizes.get(part.name) == part.size_bytes for part in parts)


def in_order(units: Units) -> list[Part]:
    """The parts of all units, as they are in the partition."""
    return [part for unit in sorted(units) for part in units[unit]]


def read_notes(table: Folder, partition: str = "") -> dict[str, Note]:
    """What the checkpoints of a table, or of one partition, say, by their names in its folder."""
    names = [entry.name for entry in table.entries(FOLDER) if not entry.name.startswith(".")]
    own = [name for name in names if name.startswith(partition) and name.endswith(".json")]
    notes = {f"{FOLDER}/{name}": _read(table, f"{FOLDER}/{name}") for name in sorted(own)}
    return {name: note for name, note in notes.items() if note is not None}


def _read(table: Folder, name: str) -> Note | None:
    """What a checkpoint's file says; None if it is gone."""
    content = table.read(name)
    if content is None:
        return None
    written_at = content.modified_at
    try:
        noted = json.loads(content.text)
        left_over = [*map(str, noted["left_over"])]
        if "units" not in noted:  # of an earlier version: only the names of its parts are known
            names = [str(relative).rpartition("/")[2] for relative, _ in noted["parts"]]
            return Note(None, {}, left_over + names, False, written_at)
        units = {
            int(unit): tuple(Part(*values) for values in parts) for unit, parts in noted["units"]
        }
        return Note(noted["key"], units, left_over, bool(noted["is_shared"]), written_at)
    except (ValueError, KeyError, TypeError):
        return Note(None, {}, [], False, written_at)  # torn by a crash of the machine


def _write(
    table: Folder,
    name: str,
    key: str | None,
    units: Units,
    left_over: Collection[str],
    is_shared: bool,
) -> None:
    noted = {
        "key": key,
        "units": [(unit, [*map(dataclasses.astuple, units[unit])]) for unit in sorted(units)],
        "left_over": sorted(left_over),
        "is_shared": is_shared,
    }
    with table.replaced_text(name) as file:
        json.dump(noted, file)


def _write_ended(table: Folder, name: str, left_over: Collection[str], is_shared: bool) -> None:
    if left_over or is_shared:
        _write(table, name, None, {}, left_over, is_shared)
    else:
        table.remove([name])
