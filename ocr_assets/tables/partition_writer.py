"""Writing a partition row by row, in parts of bounded size."""

import datetime as dt
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import polars as pl

from ocr_assets.tables.unit_writer import UnitWriter

if TYPE_CHECKING:
    from ocr_assets.tables.partitioned import PartitionedTable


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
    was, and discards what was written unless there is a key to resume it by. For parts that are
    written elsewhere, and not one after the other, there is `UnitWriter`.

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
        self._part_size = part_size
        # A unit of this writer is a part, and those of `UnitWriter` are what its caller says: with
        # one key for both, one would go on where the other has stopped with something else.
        key = f"rows of {made_from}" if made_from is not None else None
        self._units = UnitWriter(table, date, made_from, key=key, is_shared=False)
        self._buffer: list[pl.DataFrame] = []
        self._buffered_rows = 0
        self._buffered_bytes = 0

    def __enter__(self) -> Self:
        """As that of `UnitWriter`."""
        self._units.__enter__()
        self.resumed_parts = len(self._units.finished_units)
        self.row_count = self._units.row_count
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        """Commits, or after an exception removes the parts that nobody has seen."""
        if exception is None:
            try:
                self.end_part()
            except BaseException as error:
                self._units.__exit__(type(error), error, error.__traceback__)
                raise
        self._units.__exit__(exception_type, exception, traceback)

    def resumed(self, *columns: str) -> pl.DataFrame:
        """Columns of the rows in the parts so far, in order; at first those taken over."""
        return self._units.resumed(*columns)

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
            unit = len(self._units.finished_units)
            self._units.add_unit(unit, [self._units.place.write(unit, pl.concat(self._buffer))])
        self._buffer = []
        self._buffered_rows = 0
        self._buffered_bytes = 0

    def ensure_it_stands(self) -> None:
        """For what else is made of the rows: asks, after the commit, whether they are the last.

        Raises:
            PartitionConflictError: Another writer has replaced the partition since.
        """
        self._units.ensure_it_stands()
