"""Replacing a partition: part files that nobody sees, then one commit."""

from __future__ import annotations

import datetime as dt
import random
import time
import types
import uuid
from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, Self

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from ocr_assets.tables.checkpoint import Checkpoint, in_order
from ocr_assets.tables.cleaning import clean
from ocr_assets.tables.delta_log import FOLDER, committed_names, folder_of, opened
from ocr_assets.tables.part import Part, PartPlace

if TYPE_CHECKING:
    from ocr_assets.tables.partitioned import PartitionedTable

COMMIT_ATTEMPTS = 30


class PartitionConflictError(RuntimeError):
    """Another writer replaced the partition while this one was writing it."""


class UnitWriter:
    """Replaces a partition with the parts of numbered units of work, in one transaction.

    ```python
    with table.replace_units(date, made_from=key) as writer:
        for unit in range(count):
            if unit not in writer.finished_units:
                part = writer.place.write(unit, rows_of(unit))  # in any process, on any host
                writer.add_unit(unit, [part])
    ```

    Units may be finished in any order; their rows are in the partition in the order of their
    numbers. Use it as a context manager: leaving the block commits; an exception leaves the
    partition as it was, and discards what was written unless there is a key to resume it by.

    Attributes:
        row_count: Rows so far.
    """

    def __init__(
        self,
        table: PartitionedTable,
        date: dt.date,
        made_from: str | None,
        *,
        key: str | None,
        is_shared: bool,
    ) -> None:
        """See `PartitionedTable.replace_units`.

        Args:
            table: The table.
            date: The partition.
            made_from: What the rows are made from and how.
            key: What units of an earlier writer are taken over by.
            is_shared: Whether parts are written in other processes.
        """
        self.row_count = 0
        writer_id = uuid.uuid4().hex
        self._place = PartPlace(table, date, writer_id, made_from)
        self._table = table
        self._date = date
        self._key = key
        self._fence = f"ocr_assets/{date.isoformat()}"
        self._seen_version: int | None = None
        self._since = -1
        self._may_be_committed = False
        self._checkpoint = Checkpoint(
            table.folder, folder_of(date), writer_id, key, table.retention, is_shared=is_shared
        )

    @property
    def place(self) -> PartPlace:
        """Where parts are to be written, for this process and others."""
        with self._place.errors_name_the_partition():
            self._checkpoint.begin()
        return self._place

    @property
    def finished_units(self) -> Set[int]:
        """The units that have been added, by this writer or by the one that it goes on from."""
        return self._checkpoint.units.keys()

    @property
    def parts(self) -> list[Part]:
        """Parts so far, in the order of their rows."""
        return in_order(self._checkpoint.units)

    def __enter__(self) -> Self:
        """Creates the table if need be and notes which commit of the partition is the last.

        Raises:
            DayLostError: The day is another run's by now; so at the end of the block.
        """
        with self._place.errors_name_the_partition():
            table = self._table.open_for_writing()
            self._since = table.version()
            self._seen_version = table.transaction_version(self._fence)
            # Afterwards, so that no commit of a run that has taken the day over is built on.
            self._table.ensure_held(self._date)
            if self._table.retention is not None:
                clean(self._table.folder, self._table.retention)
            self._checkpoint.find(committed_names(table, self._date))
        self.row_count = sum(part.rows for part in self.parts)
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        """Commits, or after an exception removes the parts that nobody has seen."""
        try:
            if exception is None:
                if not self.parts:
                    nothing = self._table.schema.create_empty().drop("date")
                    self._checkpoint.add(0, [self.place.write(0, nothing)])
                with self._place.errors_name_the_partition():
                    self._commit()
        except BaseException as error:
            self._discard(error)
            raise
        if exception is not None:
            self._discard(exception)

    def add_unit(self, unit: int, parts: Sequence[Part]) -> None:
        """Takes a finished unit, with all of its parts.

        Args:
            unit: The unit.
            parts: What `place.write` returned for it, wherever that was called; a unit may have no
                rows, and so none.

        Raises:
            ValueError: The unit was added before, or a part is not of it or not of this writer.
            WriterTooLateError: No unit was added for so long that the others may be gone.
        """
        if unit in self.finished_units:
            raise ValueError(f"unit {unit} of {self._table.name} {self._date} is there already")
        ordered = sorted(parts, key=lambda part: part.piece)
        for part in ordered:
            if part.unit != unit or self._place.writer_id not in part.name:
                raise ValueError(f"{part.relative} is not a part of unit {unit} of this writer")
        if len({part.piece for part in ordered}) != len(ordered):
            raise ValueError(f"unit {unit} of {self._table.name} has one piece twice: {ordered}")
        with self._place.errors_name_the_partition():
            self._checkpoint.add(unit, ordered)
        self.row_count += sum(part.rows for part in ordered)

    def resumed(self, *columns: str) -> pl.DataFrame:
        """Columns of the rows in the parts so far, in order."""
        names = [part.relative for part in self.parts]
        rows = self._table.scan_names(names, self._date) if names else self._table.no_rows()
        return rows.select(columns).collect()

    def ensure_it_stands(self) -> None:
        """For what else is made of the rows: asks, after the commit, whether they are the last.

        Raises:
            PartitionConflictError: Another writer has replaced the partition since.
        """
        with self._place.errors_name_the_partition():
            version = opened(self._table.folder).transaction_version(self._fence)
        if version != self._seen_version:
            raise PartitionConflictError(
                f"{self._table.name} {self._date} was replaced by another run right after this one "
                "had written it; what the other run wrote stands, but what goes with it may not, "
                "run the day again"
            )

    def _left_over(self) -> set[str]:
        """The files that no reader needs once this writer has committed, and a while has passed.

        They are the parts that it replaces and what other writers have left. None of those can
        commit any more; the next writer may still resume from their parts.
        """
        if self._table.retention is None:
            return set()
        there = {entry.name for entry in self._table.folder.entries(folder_of(self._date))}
        return there - {part.name for part in self.parts}

    def _commit(self) -> None:
        """One transaction: out with the partition's old parts, in with the new ones.

        Delta's own conflict check lets two first writes of a partition both through, and refuses a
        write because another day was replaced meanwhile. An application transaction per partition
        closes the first gap; trying again after looking at it closes the second.
        """
        left_over = self._left_over()
        self._checkpoint.note(left_over)
        self._may_be_committed = True
        actions: list[AddAction | RemoveAction] = [
            part.add_action(self._date) for part in self.parts
        ]
        for attempt in range(COMMIT_ATTEMPTS):
            table = opened(self._table.folder)
            version = table.transaction_version(self._fence)
            if version != self._seen_version:
                if attempt > 0 and self._is_committed(table):
                    break  # the attempt before failed only after it had taken effect
                raise PartitionConflictError(
                    f"{self._table.name} {self._date} was replaced by another run while this one "
                    "was writing it; what the other run wrote stands, run this one again"
                )
            self._table.ensure_held(self._date)
            try:
                table.create_write_transaction(
                    actions,
                    mode="overwrite",
                    schema=table.schema(),
                    partition_by=["date"],
                    partition_filters=[("date", "=", self._date.isoformat())],
                    commit_properties=CommitProperties(
                        app_transactions=[Transaction(self._fence, (version or 0) + 1)]
                    ),
                )
                break
            except CommitFailedError:
                if attempt + 1 == COMMIT_ATTEMPTS:
                    raise
                time.sleep(random.uniform(0.01, 0.05 * (attempt + 1)))
            except (OSError, DeltaError):
                if not self._is_committed(opened(self._table.folder)):
                    raise
                break  # the answer was lost, and not the commit
        self._seen_version = (self._seen_version or 0) + 1
        self._table.folder.settle(FOLDER, self._since)
        self._checkpoint.end(left_over)

    def _is_committed(self, table: DeltaTable) -> bool:
        return {part.name for part in self.parts} <= committed_names(table, self._date)

    def _discard(self, because: BaseException) -> None:
        if self._key is not None:
            # They are there to be resumed from, by another writer already perhaps.
            try:
                self._checkpoint.leave()
            except Exception as error:
                because.add_note(f"(what was finished last will be done again: {error})")
            return
        with self._place.errors_name_the_partition():
            if self._may_be_committed and self._is_committed(opened(self._table.folder)):
                return  # the commit failed after it had taken effect
            partition, folder = folder_of(self._date), self._table.folder
            there = [entry.name for entry in folder.entries(partition)]
            own = [name for name in there if self._place.writer_id in name]
            folder.remove(f"{partition}/{name}" for name in own)
            self._checkpoint.remove()
