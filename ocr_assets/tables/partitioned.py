"""A Delta table of daily partitions, each replaced as a whole and written in bounded parts."""

import contextlib
import datetime as dt
import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import dataframely as dy
import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from polars.exceptions import PanicException, PolarsError

from ocr_assets.object_storage_errors import ObjectStorageError
from ocr_assets.tables import delta_log
from ocr_assets.tables.delta_log import committed_names, folder_of
from ocr_assets.tables.folder import EnsureHeld, Folder, folder_at
from ocr_assets.tables.part import MADE_FROM
from ocr_assets.tables.partition_writer import PartitionWriter, PartSize
from ocr_assets.tables.storage_errors import UNREADABLE_PART, reason
from ocr_assets.tables.unit_writer import UnitWriter

RETENTION = dt.timedelta(days=7)
PARTS_AT_ONCE = 64  # that are read at the same time, where little is read of each
ParquetCompression = Literal["zstd", "uncompressed"]


class PartitionMissingError(LookupError):
    """The partition was never written."""


class PartitionOutdatedError(LookupError):
    """The partition was written by an earlier version, and lacks what is needed now."""


class TableDamagedError(Exception):
    """A part of a partition, or the table's log, cannot be read; the message says what to do."""


@dataclass(frozen=True)
class StoredPartition:
    """How large a partition is.

    Attributes:
        files: How many parts it has.
        rows: How many rows.
        bytes: Size of the parts.
    """

    files: int
    rows: int
    bytes: int


class PartitionedTable:
    """One Delta table, partitioned by its `date` column.

    ```python
    with table.reading(date):
        rows = table.scan(date).select("sample_id").collect()
    ```

    Readers see a partition as its last commit left it; parts that are still being written are
    invisible to them. A partition of no rows is kept as one empty part, so that "nothing that day"
    differs from "never written".
    """

    def __init__(
        self,
        root: str | Path | Folder,
        name: str,
        schema: type[dy.Schema],
        *,
        compression: ParquetCompression = "zstd",
        retention: dt.timedelta | None = RETENTION,
        ensure_held: EnsureHeld | None = None,
    ) -> None:
        """Names a table; nothing is touched until it is read or written.

        Args:
            root: The folder that holds all tables; with options, as `folder_at` gives it.
            name: The table's name, also its folder.
            schema: Its columns.
            compression: Parquet compression of the parts.
            retention: How long files are kept that are no longer, or not yet, in the table; None:
                for ever. See `cleaning.clean`.
            ensure_held: Asks whether a day is still the run's, see `Folder.days_locked`; it stays
                in this process. None: nobody else writes.

        Raises:
            ValueError: Delta cannot address the folder.
        """
        self.name = name
        self.schema = schema
        self.folder = (root if isinstance(root, Folder) else folder_at(root)).within(name)
        self.compression = compression
        self.retention = retention
        self._ensure_held = ensure_held

    def __getstate__(self) -> dict[str, object]:
        """Other processes write parts, and leave it to this one to commit them."""
        return self.__dict__ | {"_ensure_held": None}

    @property
    def uri(self) -> str:
        """Where the table is, as Delta readers take it."""
        return self.folder.uri

    def scan(self, date: dt.date) -> pl.LazyFrame:
        """The rows of one day.

        Raises:
            PartitionMissingError: The day was never written.
            TableDamagedError: The table's log cannot be read; so for all that look into it.
        """
        return self.scan_names(self.parts(date), date)

    def scan_parts(self, date: dt.date) -> Iterator[pl.LazyFrame]:
        """The rows of one day, one part after the other, each small enough to hold in memory.

        Raises:
            PartitionMissingError: The day was never written.
        """
        for name in self.parts(date):
            yield self.scan_part(name, date)

    def scan_part(self, name: str, date: dt.date) -> pl.LazyFrame:
        """The rows of one of `parts(date)`."""
        return self.scan_names([name], date)

    def collect_parts(
        self,
        names: Sequence[str],
        date: dt.date,
        ask: Callable[[pl.LazyFrame], pl.LazyFrame],
    ) -> Iterator[pl.DataFrame]:
        """What is asked of each of some parts of one day, in order.

        Several are read at the same time: a storage may take long to begin an answer.

        Args:
            names: As `parts` has them.
            date: The day.
            ask: Is given the rows of a part; what it makes of them should be small.

        Raises:
            Exception: What reading a part raises, when all before it have been given.
        """
        for start in range(0, len(names), PARTS_AT_ONCE):
            some = [
                ask(self.scan_part(name, date)) for name in names[start : start + PARTS_AT_ONCE]
            ]
            parts: Iterable[pl.DataFrame]
            try:
                parts = pl.collect_all(some)
            except UNREADABLE_PART:
                parts = (one.collect() for one in some)  # which of them is it?
            yield from parts

    @contextlib.contextmanager
    def reading(self, date: dt.date) -> Iterator[None]:
        """Says what is wrong with a day whose rows cannot be read in the block.

        Raises:
            TableDamagedError: A part file is missing, torn, or not the table's.
            OSError: The storage fails.
        """
        try:
            with self.folder.errors(folder_of(date)):
                yield
        except (FileNotFoundError, PolarsError, PanicException) as error:
            damage = self._damage(date)
            if damage is None:
                raise  # the table is not to blame
            raise TableDamagedError(
                f"{self.name} of {date} cannot be read: {damage}; materialise {self.name} for "
                f"{date} again"
            ) from error

    def no_rows(self) -> pl.LazyFrame:
        """Its columns."""
        return pl.LazyFrame(schema=self.schema.create_empty().schema)

    def scan_near(self, date: dt.date, days: int) -> pl.LazyFrame | None:
        """The rows of every partition at most so many days before or after one, and of that one.

        Args:
            date: The day in the middle; it need not have a partition.
            days: How far to look, at least 0.

        Returns:
            The rows, day by day; None if there is no partition.
        """
        near = self.parts_near(date, days)
        return (
            pl.concat([self.scan_names(near[day], day) for day in sorted(near)]) if near else None
        )

    def parts_near(self, date: dt.date, days: int) -> dict[dt.date, list[str]]:
        """The parts of the same partitions, nearest day first, the earlier one of two.

        Their names come from the table's log: whether the files are still there is not looked at.
        """
        reach = dt.timedelta(days)
        near = [
            ("date", ">=", (date - reach).isoformat()),
            ("date", "<=", (date + reach).isoformat()),
        ]
        with self._log() as table:
            uris = table.file_uris(file_pruning_predicate=near) if table else []
        names: dict[dt.date, list[str]] = {}
        for uri in uris:
            names.setdefault(_day_of(uri), []).append(PurePosixPath(uri).name)
        return {
            day: [f"{folder_of(day)}/{name}" for name in sorted(names[day])]
            for day in sorted(names, key=lambda day: (abs(day - date), day))
        }

    def parts(self, date: dt.date) -> list[str]:
        """The parts of one day, in the order of their rows, by their names in the table's folder.

        Raises:
            PartitionMissingError: The day was never written.
        """
        with self._log() as table:
            names = committed_names(table, date) if table else set()
        if not names:
            raise self._missing(date)
        return [f"{folder_of(date)}/{name}" for name in sorted(names)]

    def dates(self) -> list[dt.date]:
        """The days that were written, in order; none if the table is not there."""
        with self._log() as table:
            partitions = table.partitions() if table else []
        return sorted(dt.date.fromisoformat(partition["date"]) for partition in partitions)

    def replace(
        self, date: dt.date, part_size: PartSize | None = None, *, made_from: str | None = None
    ) -> PartitionWriter:
        """A writer whose rows replace the partition when its `with` block ends without an error.

        Args:
            date: The partition.
            part_size: When a part is full.
            made_from: What the rows are made from and how. With it, the parts finished before an
                error or a crash are kept, and the next writer with the same begins with them.
        """
        return PartitionWriter(self, date, part_size or PartSize(), made_from)

    def replace_units(
        self, date: dt.date, *, made_from: str | None = None, is_shared: bool = True
    ) -> UnitWriter:
        """The same for parts that are written elsewhere, unit of work by unit of work.

        Args:
            date: The partition.
            made_from: What the rows are made from and how, and what a unit's number means. With it,
                the units finished before an error or a crash are kept, and the next writer with
                the same has them, whichever they are.
            is_shared: Whether parts are written by processes that may outlive the writer.
        """
        key = f"units of {made_from}" if made_from is not None else None
        return UnitWriter(self, date, made_from, key=key, is_shared=is_shared)

    def made_from(self, date: dt.date) -> str | None:
        """What the rows of one day were said to be made from; None if none can be read."""
        try:
            with self.reading(date):
                first, *_ = self.parts(date)
                return pl.read_parquet_metadata(
                    self.folder.address(first),
                    storage_options=self.folder.scan_options,
                    credential_provider=None,
                ).get(MADE_FROM)
        except (PartitionMissingError, TableDamagedError):
            return None

    def stored(self, date: dt.date) -> StoredPartition:
        """How large a day is, by the table's log; its files are not looked at.

        Raises:
            PartitionMissingError: The day was never written.
        """
        with self._log() as table:
            files = table.get_add_actions() if table is not None else None
        if files is None:
            raise self._missing(date)
        columns = files.select(["partition", "num_records", "size_bytes"])
        of_day = pl.DataFrame(columns).filter(pl.col("partition").struct.field("date") == date)
        if of_day.is_empty():
            raise self._missing(date)
        rows, size_bytes = of_day.select(pl.col("num_records", "size_bytes").sum()).row(0)
        return StoredPartition(of_day.height, rows, size_bytes)

    def row_count(self, date: dt.date) -> int:
        """The number of rows of one day, by the same log.

        Raises:
            PartitionMissingError: The day was never written.
        """
        return self.stored(date).rows

    def _missing(self, date: dt.date) -> PartitionMissingError:
        return PartitionMissingError(
            f"{self.name} has no partition {date}; materialise {self.name} for {date} first"
        )

    def _damage(self, date: dt.date) -> str | None:
        """The first part of a day that cannot be read by itself, and why; None if there is none."""
        there = {entry.name for entry in self.folder.entries(folder_of(date))}
        for name in self.parts(date):
            if name.rpartition("/")[2] not in there:
                return f"{self.folder.address(name)}: {os.strerror(errno.ENOENT)}"
        for name in self.parts(date):
            try:
                with self.folder.errors(name):
                    self.scan_part(name, date).collect()
            except ObjectStorageError:
                raise  # it does not answer, which says nothing of the part
            except UNREADABLE_PART as error:
                return f"{self.folder.address(name)}: {reason(error)}"
        return None

    @contextlib.contextmanager
    def _log(self) -> Iterator[DeltaTable | None]:
        """The table as its log, which is read in the block, has it; None if it is not there."""
        try:
            with self.folder.errors(delta_log.FOLDER):
                yield delta_log.found(self.folder)
        except DeltaError as error:
            log = self.folder.address(delta_log.FOLDER)
            raise TableDamagedError(
                f"{self.name} cannot be read: {log}: {reason(error)}; restore that folder, or move "
                f"it away and materialise all days of {self.name} again"
            ) from error

    def ensure_held(self, date: dt.date) -> None:
        """Refuses to go on where the day is another run's by now.

        Raises:
            DayLostError: It is.
            OSError: The storage does not say.
        """
        if self._ensure_held is not None:
            self._ensure_held(date)

    def open_for_writing(self) -> DeltaTable:
        """The table, created if it is not there yet."""
        with self._log() as found:
            table = found
        return delta_log.ready(self.folder, table, self.schema)

    def scan_names(self, names: list[str], date: dt.date) -> pl.LazyFrame:
        """The rows of parts of one day, at least one, committed or not.

        Columns that the schema has gained since a part was written are null in it.
        """
        columns = self.schema.create_empty().drop("date").schema
        rows = pl.scan_parquet(
            [self.folder.address(name) for name in names],
            glob=False,
            schema=columns,
            missing_columns="insert",
            storage_options=self.folder.scan_options,
            credential_provider=None,  # else polars takes boto3 where that happens to be there
        )
        return rows.select(pl.lit(date).alias("date"), pl.all())


def _day_of(uri: str) -> dt.date:
    """The partition of a part file."""
    return dt.date.fromisoformat(PurePosixPath(uri).parent.name.removeprefix("date="))
