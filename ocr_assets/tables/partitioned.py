"""A Delta table of daily partitions, each replaced as a whole and written in bounded parts."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

import dataframely as dy
import polars as pl
from deltalake import DeltaTable, Schema
from deltalake.exceptions import CommitFailedError

from ocr_assets.tables.delta_log import committed_names, folder_of, sync_log
from ocr_assets.tables.durable import make_folder, sync
from ocr_assets.tables.partition_writer import MADE_FROM, PartitionWriter, PartSize

RETENTION = dt.timedelta(days=7)
ParquetCompression = Literal["zstd", "uncompressed"]


def addressable(root: str | Path) -> Path:
    """The absolute path of a folder for tables.

    Raises:
        ValueError: Delta cannot address it.
    """
    path = Path(root).expanduser().absolute()
    if "%" in str(path):
        raise ValueError(f"{path} holds a %, which Delta takes for an encoded character")
    return path


class PartitionMissingError(LookupError):
    """The partition was never written."""


class PartitionOutdatedError(LookupError):
    """The partition was written by an earlier version, and lacks what is needed now."""


class PartitionedTable:
    """One Delta table, partitioned by its `date` column.

    Readers see a partition as its last commit left it; parts that are still being written are
    invisible to them. A partition of no rows is kept as one empty part, so that "nothing that day"
    differs from "never written".
    """

    def __init__(
        self,
        root: str | Path,
        name: str,
        schema: type[dy.Schema],
        *,
        compression: ParquetCompression = "zstd",
        retention: dt.timedelta | None = RETENTION,
    ) -> None:
        """Names a table; nothing is touched until it is read or written.

        Args:
            root: The folder that holds all tables.
            name: The table's name, also its folder.
            schema: Its columns.
            compression: Parquet compression of the parts.
            retention: How long files are kept that are no longer, or not yet, in the table; None:
                for ever. See `cleaning.clean`.

        Raises:
            ValueError: Delta cannot address the folder.
        """
        self.name = name
        self.schema = schema
        self.path = addressable(root) / name
        self.compression = compression
        self.retention = retention

    @property
    def uri(self) -> str:
        """Where the table is, as Delta readers take it."""
        return str(self.path)

    def scan(self, date: dt.date) -> pl.LazyFrame:
        """The rows of one day.

        Raises:
            PartitionMissingError: The day was never written.
        """
        return self.scan_paths(self.parts(date), date)

    def scan_parts(self, date: dt.date) -> Iterator[pl.LazyFrame]:
        """The rows of one day, one part after the other, each small enough to hold in memory.

        Raises:
            PartitionMissingError: The day was never written.
        """
        for path in self.parts(date):
            yield self.scan_part(path, date)

    def scan_part(self, path: Path, date: dt.date) -> pl.LazyFrame:
        """The rows of one of `parts(date)`."""
        return self.scan_paths([path], date)

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
            pl.concat([self.scan_paths(near[day], day) for day in sorted(near)]) if near else None
        )

    def parts_near(self, date: dt.date, days: int) -> dict[dt.date, list[Path]]:
        """The part files of the same partitions, nearest day first, the earlier one of two.

        Their names come from the table's log: whether the files are still there is not looked at.
        """
        if not DeltaTable.is_deltatable(self.uri):
            return {}
        reach = dt.timedelta(days)
        names: dict[dt.date, list[str]] = {}
        for uri in DeltaTable(self.uri).file_uris(
            file_pruning_predicate=[
                ("date", ">=", (date - reach).isoformat()),
                ("date", "<=", (date + reach).isoformat()),
            ]
        ):
            names.setdefault(_day_of(uri), []).append(PurePosixPath(uri).name)
        return {
            day: [self.path / folder_of(day) / name for name in sorted(names[day])]
            for day in sorted(names, key=lambda day: (abs(day - date), day))
        }

    def parts(self, date: dt.date) -> list[Path]:
        """The part files of one day, in the order they were written.

        Raises:
            PartitionMissingError: The day was never written.
        """
        names = (
            committed_names(DeltaTable(self.uri), date)
            if DeltaTable.is_deltatable(self.uri)
            else set()
        )
        if not names:
            raise PartitionMissingError(
                f"{self.name} has no partition {date}; materialise {self.name} for {date} first"
            )
        return [self.path / folder_of(date) / name for name in sorted(names)]

    def dates(self) -> list[dt.date]:
        """The days that were written, in order; none if the table is not there."""
        if not DeltaTable.is_deltatable(self.uri):
            return []
        return sorted(
            dt.date.fromisoformat(partition["date"])
            for partition in DeltaTable(self.uri).partitions()
        )

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

    def made_from(self, date: dt.date) -> str | None:
        """What the rows of one day were said to be made from; None if there are none."""
        try:
            first, *_ = self.parts(date)
        except PartitionMissingError:
            return None
        return pl.read_parquet_metadata(first).get(MADE_FROM)

    def row_count(self, date: dt.date) -> int:
        """The number of rows of one day.

        Raises:
            PartitionMissingError: The day was never written.
        """
        return int(self.scan(date).select(pl.len()).collect().item())

    def open_for_writing(self) -> DeltaTable:
        """The table, created if it is not there yet."""
        if not DeltaTable.is_deltatable(self.uri):
            make_folder(self.path)
            try:
                DeltaTable.create(
                    self.uri,
                    schema=self.schema.create_empty().schema,
                    partition_by=["date"],
                    mode="ignore",
                    description=(self.schema.__doc__ or "").strip().partition("\n")[0],
                )
            except CommitFailedError:
                if not DeltaTable.is_deltatable(self.uri):
                    raise
                # Another process created it in the same moment.
            sync(self.path)
            sync_log(self.path, since=-1)
        return self._with_new_columns(DeltaTable(self.uri))

    def _with_new_columns(self, table: DeltaTable) -> DeltaTable:
        """Adds to a table of an earlier version the columns that its schema has gained since."""
        known = {field.name for field in table.schema().fields}
        columns = Schema.from_arrow(self.schema.create_empty().schema).fields
        new = [field for field in columns if field.name not in known]
        if not new:
            return table
        since = table.version()
        try:
            table.alter.add_columns(new)
        except CommitFailedError:
            table = DeltaTable(self.uri)
            if not {field.name for field in new} <= {field.name for field in table.schema().fields}:
                raise
            # Another process added them in the same moment.
        sync_log(self.path, since)
        return table

    def scan_paths(self, paths: list[Path], date: dt.date) -> pl.LazyFrame:
        """The rows of part files of one day, at least one, committed or not.

        Columns that the schema has gained since a part was written are null in it.
        """
        columns = self.schema.create_empty().drop("date").schema
        rows = pl.scan_parquet(paths, glob=False, schema=columns, missing_columns="insert")
        return rows.select(pl.lit(date).alias("date"), pl.all())


def _day_of(uri: str) -> dt.date:
    """The partition of a part file."""
    return dt.date.fromisoformat(PurePosixPath(uri).parent.name.removeprefix("date="))
