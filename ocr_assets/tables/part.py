"""The parts of a partition, which may be written in any process on any host."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl
from deltalake.transaction import AddAction

from ocr_assets.tables.delta_log import folder_of

if TYPE_CHECKING:
    from ocr_assets.tables.partitioned import PartitionedTable

MADE_FROM = "ocr_assets.made_from"  # in each part's footer
UNIT_DIGITS, PIECE_DIGITS = 8, 6  # names sort like numbers


@dataclass(frozen=True, slots=True)
class Part:
    """A part file that is finished and that no reader sees before it is committed.

    Attributes:
        relative: Its path, relative to the table's.
        unit: The unit of work whose rows it has; units are in the partition in their order.
        piece: Its place among the parts of that unit.
        rows: How many rows it has.
        size_bytes: Its size.
        modified_ms: When it was written, in milliseconds since the epoch.
    """

    relative: str
    unit: int
    piece: int
    rows: int
    size_bytes: int
    modified_ms: int

    @property
    def name(self) -> str:
        """Its file's name."""
        return self.relative.rpartition("/")[2]

    def add_action(self, date: dt.date) -> AddAction:
        """The Delta log's entry for it."""
        return AddAction(
            path=self.relative,
            size=self.size_bytes,
            partition_values={"date": date.isoformat()},
            modification_time=self.modified_ms,
            data_change=True,
            stats=json.dumps({"numRecords": self.rows}),
        )


@dataclass(frozen=True)
class PartPlace:
    """Where the parts of one writer go. It can be pickled, and used wherever the table can be.

    Attributes:
        table: The table.
        date: The partition.
        writer_id: The writer's, by which what it has left is found.
        made_from: What the rows are made from and how, for the parts' footers.
    """

    table: PartitionedTable
    date: dt.date
    writer_id: str
    made_from: str | None

    def write(self, unit: int, rows: pl.DataFrame, piece: int = 0) -> Part:
        """Writes a part that no reader sees; the writer is told of it by `UnitWriter.add_unit`.

        Every call writes a file of its own, so that two attempts at one unit do not meet.

        Args:
            unit: The unit of work, from 0.
            rows: Rows with the table's columns except `date`.
            piece: Its place among the parts of the unit, from 0.

        Raises:
            dataframely.exc.ValidationError: Rows break the table's schema.
            ValueError: A number is negative or too great.
            OSError: The storage fails.
        """
        for number, digits in ((unit, UNIT_DIGITS), (piece, PIECE_DIGITS)):
            if not 0 <= number < 10**digits:
                raise ValueError(f"{number} is not a number of up to {digits} digits")
        dated = rows.with_columns(date=pl.lit(self.date))
        validated = self.table.schema.validate(dated, cast=True).drop("date")
        name = f"part-{unit:0{UNIT_DIGITS}d}-{piece:0{PIECE_DIGITS}d}"
        relative = f"{folder_of(self.date)}/{name}-{self.writer_id}-{uuid.uuid4().hex}.parquet"
        folder = self.table.folder
        with self.errors_name_the_partition(relative), folder.replaced(relative) as path:
            validated.write_parquet(
                path,
                compression=self.table.compression,
                metadata={MADE_FROM: self.made_from} if self.made_from is not None else None,
                # Minima and maxima of binary columns would put whole images into the footer.
                statistics={
                    "min": False,
                    "max": False,
                    "distinct_count": False,
                    "null_count": True,
                },
            )
            status = path.stat()
        modified_ms = int(status.st_mtime * 1000)
        return Part(relative, unit, piece, validated.height, status.st_size, modified_ms)

    @contextlib.contextmanager
    def errors_name_the_partition(self, name: str = "") -> Iterator[None]:
        """What polars and deltalake say often has no path, or half of one.

        Args:
            name: What is worked on, relative to the table.
        """
        try:
            with self.table.folder.errors(name):
                yield
        except Exception as error:
            error.add_note(f"(while {self.table.uri} of {self.date} was being written)")
            raise
