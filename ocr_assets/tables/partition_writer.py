"""Writing a partition: part files that nobody sees, then one commit."""

import contextlib
import datetime as dt
import json
import random
import time
import types
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction

from ocr_assets.tables.checkpoint import Checkpoint
from ocr_assets.tables.cleaning import clean
from ocr_assets.tables.delta_log import committed_names, folder_of, sync_log
from ocr_assets.tables.replace_file import replaced

if TYPE_CHECKING:
    from ocr_assets.tables.partitioned import PartitionedTable

COMMIT_ATTEMPTS = 30
MADE_FROM = "ocr_assets.made_from"  # in each part's footer


class PartitionConflictError(RuntimeError):
    """Another writer replaced the partition while this one was writing it."""


@dataclass(frozen=True)
class PartSize:
    """How large one part file may grow before the next one is begun.

    Attributes:
        rows: A part ends with the append that brings it to this many rows,
        bytes: or to this many bytes in memory.
    """

    rows: int = 50_000
    bytes: int = 64 * 2**20


class PartitionWriter:
    """Collects rows into part files and replaces the partition with them in one transaction.

    Use it as a context manager: leaving the block commits; an exception leaves the partition as it
    was, and discards what was written unless there is a key to resume it by.

    Attributes:
        row_count: Rows so far.
        resumed_parts: Parts taken over from an earlier writer; go on with the part after them.
    """

    def __init__(
        self, table: "PartitionedTable", date: dt.date, part_size: PartSize, made_from: str | None
    ) -> None:
        """See `PartitionedTable.replace`."""
        self.row_count = 0
        self.resumed_parts = 0
        self._table = table
        self._date = date
        self._part_size = part_size
        self._made_from = made_from
        self._writer_id = uuid.uuid4().hex
        self._parts: list[Part] = []
        self._buffer: list[pl.DataFrame] = []
        self._buffered_rows = 0
        self._buffered_bytes = 0
        self._fence = f"ocr_assets/{date.isoformat()}"
        self._seen_version: int | None = None
        self._since = -1
        self._may_be_committed = False
        self._checkpoint = Checkpoint(
            table.path, folder_of(date), self._writer_id, made_from, table.retention
        )

    def __enter__(self) -> Self:
        """Creates the table if need be and notes which commit of the partition is the last."""
        with self._errors_name_the_partition():
            table = self._table.open_for_writing()
            self._since = table.version()
            self._seen_version = table.transaction_version(self._fence)
            if self._table.retention is not None:
                clean(self._table.path, self._table.retention)
            self._parts = [
                Part(self._table.path / relative, relative, rows)
                for relative, rows in self._checkpoint.find(committed_names(table, self._date))
            ]
        self.resumed_parts = len(self._parts)
        self.row_count = sum(part.rows for part in self._parts)
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
                self.end_part()
                if not self._parts:
                    self._write(self._table.schema.create_empty().drop("date"))
                with self._errors_name_the_partition():
                    self._commit()
        except BaseException:
            self._discard()
            raise
        if exception is not None:
            self._discard()

    def resumed(self, *columns: str) -> pl.DataFrame:
        """Columns of the rows in the parts taken over, in order."""
        paths = [part.path for part in self._parts[: self.resumed_parts]]
        rows = self._table.scan_paths(paths, self._date) if paths else self._table.no_rows()
        return rows.select(columns).collect()

    def append(self, rows: pl.DataFrame) -> None:
        """Adds rows, with the table's columns except `date`.

        Raises:
            dataframely.exc.ValidationError: Rows break the table's schema.
        """
        self._buffer.append(rows)
        self._buffered_rows += rows.height
        self._buffered_bytes += int(rows.estimated_size())
        self.row_count += rows.height
        if (
            self._buffered_rows >= self._part_size.rows
            or self._buffered_bytes >= self._part_size.bytes
        ):
            self.end_part()

    def end_part(self) -> None:
        """Writes what was appended since the last part, if anything, as a part of its own."""
        if self._buffered_rows:
            self._write(pl.concat(self._buffer))
        self._buffer = []
        self._buffered_rows = 0
        self._buffered_bytes = 0

    def ensure_it_stands(self) -> None:
        """For what else is made of the rows: asks, after the commit, whether they are the last.

        Raises:
            PartitionConflictError: Another writer has replaced the partition since.
        """
        version = DeltaTable(self._table.uri).transaction_version(self._fence)
        if version != self._seen_version:
            raise PartitionConflictError(
                f"{self._table.name} {self._date} was replaced by another run right after this one "
                "had written it; what the other run wrote stands, but what goes with it may not, "
                "run the day again"
            )

    def _write(self, rows: pl.DataFrame) -> None:
        """Writes one part file that no reader sees until it is committed."""
        dated = rows.with_columns(date=pl.lit(self._date))
        validated = self._table.schema.validate(dated, cast=True)
        name = f"part-{len(self._parts):08d}-{self._writer_id}.parquet"
        relative = f"{folder_of(self._date)}/{name}"
        path = self._table.path / relative
        with self._errors_name_the_partition():
            if not self._parts:
                self._checkpoint.note([])  # from here on there may be something to clean away
            self._write_file(validated.drop("date"), path)
            self._parts.append(Part(path, relative, validated.height))
            self._checkpoint.note(self._noted())

    def _write_file(self, rows: pl.DataFrame, path: Path) -> None:
        with replaced(path) as unfinished:
            rows.write_parquet(
                unfinished,
                compression=self._table.compression,
                metadata={MADE_FROM: self._made_from} if self._made_from is not None else None,
                # Minima and maxima of binary columns would put whole images into the footer.
                statistics={
                    "min": False,
                    "max": False,
                    "distinct_count": False,
                    "null_count": True,
                },
            )

    @contextlib.contextmanager
    def _errors_name_the_partition(self) -> Iterator[None]:
        """What polars and deltalake say often has no path, or half of one."""
        try:
            yield
        except Exception as error:
            error.add_note(f"(while {self._table.path} of {self._date} was being written)")
            raise

    def _noted(self) -> list[tuple[str, int]]:
        return [(part.relative, part.rows) for part in self._parts]

    def _left_over(self) -> set[str]:
        """The files that no reader needs once this writer has committed, and a while has passed.

        They are the parts that it replaces and what other writers have left. None of those can
        commit any more; the next writer may still resume from their parts.
        """
        if self._table.retention is None:
            return set()
        folder = self._table.path / folder_of(self._date)
        return {path.name for path in folder.iterdir()} - {part.path.name for part in self._parts}

    def _commit(self) -> None:
        """One transaction: out with the partition's old parts, in with the new ones.

        Delta's own conflict check lets two first writes of a partition both through, and refuses a
        write because another day was replaced meanwhile. An application transaction per partition
        closes the first gap; trying again after looking at it closes the second.
        """
        left_over = self._left_over()
        self._checkpoint.note(self._noted(), left_over)
        self._may_be_committed = True
        for attempt in range(COMMIT_ATTEMPTS):
            table = DeltaTable(self._table.uri)
            version = table.transaction_version(self._fence)
            if version != self._seen_version:
                if attempt > 0 and self._is_committed(table):
                    self._seen_version = version
                    break  # the attempt before failed only after it had taken effect
                raise PartitionConflictError(
                    f"{self._table.name} {self._date} was replaced by another run while this one "
                    "was writing it; what the other run wrote stands, run this one again"
                )
            try:
                table.create_write_transaction(
                    [part.add_action(self._date) for part in self._parts],
                    mode="overwrite",
                    schema=table.schema(),
                    partition_by=["date"],
                    partition_filters=[("date", "=", self._date.isoformat())],
                    commit_properties=CommitProperties(
                        app_transactions=[Transaction(self._fence, (version or 0) + 1)]
                    ),
                )
                self._seen_version = (version or 0) + 1
                break
            except CommitFailedError:
                if attempt + 1 == COMMIT_ATTEMPTS:
                    raise
                time.sleep(random.uniform(0.01, 0.05 * (attempt + 1)))
        sync_log(self._table.path, self._since)
        self._checkpoint.end(left_over)

    def _is_committed(self, table: DeltaTable) -> bool:
        names = {part.path.name for part in self._parts}
        return names <= committed_names(table, self._date)

    def _discard(self) -> None:
        if self._made_from is not None:
            return  # they are there to be resumed from, by another writer already perhaps
        if self._may_be_committed and self._is_committed(DeltaTable(self._table.uri)):
            return  # the commit failed after it had taken effect
        folder = self._table.path / folder_of(self._date)
        for path in folder.glob(f"*{self._writer_id}*"):
            path.unlink(missing_ok=True)
        self._checkpoint.remove()


@dataclass(frozen=True)
class Part:
    """A part file on its way into the table."""

    path: Path
    relative: str
    rows: int

    def add_action(self, date: dt.date) -> AddAction:
        """The Delta log's entry for this part."""
        status = self.path.stat()
        return AddAction(
            path=self.relative,
            size=status.st_size,
            partition_values={"date": date.isoformat()},
            modification_time=int(status.st_mtime * 1000),
            data_change=True,
            stats=json.dumps({"numRecords": self.rows}),
        )
