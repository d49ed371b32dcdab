"""A Delta table of daily partitions, each replaced as a whole and written in bounded parts."""

import datetime as dt
import json
import random
import time
import types
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, Self

import dataframely as dy
import polars as pl
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction

from ocr_assets.tables.checkpoint import Checkpoint

ParquetCompression = Literal["zstd", "uncompressed"]

COMMIT_ATTEMPTS = 30
MADE_FROM = "ocr_assets.made_from"  # in each part's footer


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
    ) -> None:
        """Names a table; nothing is touched until it is read or written.

        Args:
            root: The folder that holds all tables.
            name: The table's name, also its folder.
            schema: Its columns.
            compression: Parquet compression of the parts.

        Raises:
            ValueError: Delta cannot address the folder.
        """
        self.name = name
        self.schema = schema
        self.path = addressable(root) / name
        self._compression = compression

    @property
    def uri(self) -> str:
        """Where the table is, as Delta readers take it."""
        return str(self.path)

    def scan(self, date: dt.date) -> pl.LazyFrame:
        """The rows of one day.

        Raises:
            PartitionMissingError: The day was never written.
        """
        return self._scan(self.parts(date), date)

    def scan_parts(self, date: dt.date) -> Iterator[pl.LazyFrame]:
        """The rows of one day, one part after the other, each small enough to hold in memory.

        Raises:
            PartitionMissingError: The day was never written.
        """
        for path in self.parts(date):
            yield self.scan_part(path, date)

    def scan_part(self, path: Path, date: dt.date) -> pl.LazyFrame:
        """The rows of one of `parts(date)`."""
        return self._scan([path], date)

    def scan_near(self, date: dt.date, days: int) -> pl.LazyFrame | None:
        """The rows of every partition at most so many days before or after one, and of that one.

        Args:
            date: The day in the middle; it need not have a partition.
            days: How far to look, at least 0.

        Returns:
            The rows, day by day; None if there is no partition.
        """
        near = self.parts_near(date, days)
        return pl.concat([self._scan(near[day], day) for day in sorted(near)]) if near else None

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
            path = PurePosixPath(uri)
            day = dt.date.fromisoformat(path.parent.name.removeprefix("date="))
            names.setdefault(day, []).append(path.name)
        return {
            day: [self.path / _folder(day) / name for name in sorted(names[day])]
            for day in sorted(names, key=lambda day: (abs(day - date), day))
        }

    def parts(self, date: dt.date) -> list[Path]:
        """The part files of one day, in the order they were written.

        Raises:
            PartitionMissingError: The day was never written.
        """
        names = (
            _committed_names(DeltaTable(self.uri), date)
            if DeltaTable.is_deltatable(self.uri)
            else set()
        )
        if not names:
            raise PartitionMissingError(
                f"{self.name} has no partition {date}; materialise {self.name} for {date} first"
            )
        return [self.path / _folder(date) / name for name in sorted(names)]

    def replace(
        self, date: dt.date, part_size: PartSize | None = None, *, made_from: str | None = None
    ) -> "PartitionWriter":
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
            self.path.mkdir(parents=True, exist_ok=True)
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
        return self._with_new_columns(DeltaTable(self.uri))

    def _with_new_columns(self, table: DeltaTable) -> DeltaTable:
        """Adds to a table of an earlier version the columns that its schema has gained since."""
        known = {field.name for field in table.schema().fields}
        columns = Schema.from_arrow(self.schema.create_empty().schema).fields
        new = [field for field in columns if field.name not in known]
        if not new:
            return table
        try:
            table.alter.add_columns(new)
        except CommitFailedError:
            table = DeltaTable(self.uri)
            if not {field.name for field in new} <= {field.name for field in table.schema().fields}:
                raise
            # Another process added them in the same moment.
        return table

    def _scan(self, paths: list[Path], date: dt.date) -> pl.LazyFrame:
        """Columns that the schema has gained since a part was written are null in it."""
        columns = self.schema.create_empty().drop("date").schema
        rows = pl.scan_parquet(paths, glob=False, schema=columns, missing_columns="insert")
        return rows.select(pl.lit(date).alias("date"), pl.all())

    def write_part(
        self,
        date: dt.date,
        number: int,
        writer_id: str,
        rows: pl.DataFrame,
        made_from: str | None = None,
    ) -> "Part":
        """Writes one part file that no reader sees until it is committed."""
        validated = self.schema.validate(rows, cast=True)
        relative = f"{_folder(date)}/part-{number:08d}-{writer_id}.parquet"
        path = self.path / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        validated.drop("date").write_parquet(
            path,
            compression=self._compression,
            metadata={MADE_FROM: made_from} if made_from is not None else None,
            # Minima and maxima of binary columns would put whole images into the footer.
            statistics={"min": False, "max": False, "distinct_count": False, "null_count": True},
        )
        return Part(path, relative, validated.height)


def _folder(date: dt.date) -> str:
    return f"date={date.isoformat()}"


def _committed_names(table: DeltaTable, date: dt.date) -> set[str]:
    # Names only: the paths come percent-encoded, which polars and the file system would not find.
    uris = table.file_uris(file_pruning_predicate=[("date", "=", date.isoformat())])
    return {PurePosixPath(uri).name for uri in uris}


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


class PartitionWriter:
    """Collects rows into part files and replaces the partition with them in one transaction.

    Use it as a context manager: leaving the block commits; an exception leaves the partition as it
    was, and discards what was written unless there is a key to resume it by.

    Attributes:
        row_count: Rows so far.
        resumed_parts: Parts taken over from an earlier writer; go on with the part after them.
    """

    def __init__(
        self, table: PartitionedTable, date: dt.date, part_size: PartSize, made_from: str | None
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
        self._checkpoint = (
            Checkpoint(table.path, _folder(date), self._writer_id, made_from)
            if made_from is not None
            else None
        )

    def __enter__(self) -> Self:
        """Creates the table if need be and notes which commit of the partition is the last."""
        table = self._table.open_for_writing()
        self._seen_version = table.transaction_version(self._fence)
        if self._checkpoint is not None:
            self._parts = [
                Part(self._table.path / relative, relative, rows)
                for relative, rows in self._checkpoint.find(_committed_names(table, self._date))
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
                self._commit()
                if self._checkpoint is not None:
                    self._checkpoint.remove()
        except BaseException:
            self._discard()
            raise
        if exception is not None:
            self._discard()

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

    def _write(self, rows: pl.DataFrame) -> None:
        self._parts.append(
            self._table.write_part(
                self._date,
                len(self._parts),
                self._writer_id,
                rows.with_columns(date=pl.lit(self._date)),
                self._made_from,
            )
        )
        if self._checkpoint is not None:
            self._checkpoint.note([(part.relative, part.rows) for part in self._parts])

    def _commit(self) -> None:
        """One transaction: out with the partition's old parts, in with the new ones.

        Delta's own conflict check lets two first writes of a partition both through, and refuses a
        write because another day was replaced meanwhile. An application transaction per partition
        closes the first gap; trying again after looking at it closes the second.
        """
        actions: Sequence[AddAction] = [part.add_action(self._date) for part in self._parts]
        for attempt in range(COMMIT_ATTEMPTS):
            table = DeltaTable(self._table.uri)
            version = table.transaction_version(self._fence)
            if version != self._seen_version:
                if attempt > 0 and self._is_committed(table):
                    return  # the attempt before failed only after it had taken effect
                raise PartitionConflictError(
                    f"{self._table.name} {self._date} was replaced by another run while this one "
                    "was writing it; what the other run wrote stands, run this one again"
                )
            try:
                table.create_write_transaction(
                    list(actions),
                    mode="overwrite",
                    schema=table.schema(),
                    partition_by=["date"],
                    partition_filters=[("date", "=", self._date.isoformat())],
                    commit_properties=CommitProperties(
                        app_transactions=[Transaction(self._fence, (version or 0) + 1)]
                    ),
                )
            except CommitFailedError:
                if attempt + 1 == COMMIT_ATTEMPTS:
                    raise
                time.sleep(random.uniform(0.01, 0.05 * (attempt + 1)))
            else:
                return

    def _is_committed(self, table: DeltaTable) -> bool:
        names = {part.path.name for part in self._parts}
        return names <= _committed_names(table, self._date)

    def _discard(self) -> None:
        if self._checkpoint is not None:
            return  # they are there to be resumed from, by another writer already perhaps
        # A commit can fail after it has taken effect (in the checkpoint that follows it, say).
        committed = _committed_names(DeltaTable(self._table.uri), self._date)
        for part in self._parts:
            if part.path.name not in committed:
                part.path.unlink(missing_ok=True)
