"""What deltalake leaves to its callers: making a table, commits that stay, names of files."""

from __future__ import annotations

import datetime as dt
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import dataframely as dy
from deltalake import DeltaTable, Schema
from deltalake.exceptions import CommitFailedError, TableNotFoundError

from ocr_assets.tables.durable import sync

if TYPE_CHECKING:
    from ocr_assets.tables.folder import Folder

FOLDER = "_delta_log"
STAGED = "*.json#*"  # an entry that was never linked to its name, because its writer was killed
LAST_CHECKPOINT = "_last_checkpoint"


def opened(table: Folder) -> DeltaTable:
    """A table as its log has it now.

    Raises:
        TableNotFoundError: It is not there.
    """
    return DeltaTable(table.uri, storage_options=table.options)


def found(table: Folder) -> DeltaTable | None:
    """The same; None if it is not there."""
    # DeltaTable.is_deltatable holds Python's lock while it waits for an object storage, which would
    # keep a day's lease from being renewed.
    try:
        return opened(table)
    except TableNotFoundError:
        return None


def ready(table: Folder, there: DeltaTable | None, schema: type[dy.Schema]) -> DeltaTable:
    """A table that can be written to: made if need be, with all columns.

    Args:
        table: Its folder.
        there: The table as it is; None if it is not there.
        schema: Its columns; those that a table of an earlier version lacks are added.
    """
    if there is not None:
        return _with_new_columns(table, there, schema)
    table.make()
    try:
        DeltaTable.create(
            table.uri,
            schema=schema.create_empty().schema,
            partition_by=["date"],
            mode="ignore",
            description=(schema.__doc__ or "").strip().partition("\n")[0],
            storage_options=table.options,
        )
    except CommitFailedError:
        if found(table) is None:
            raise
        # Another process created it in the same moment.
    table.settle(FOLDER, since=-1)
    return _with_new_columns(table, opened(table), schema)


def _with_new_columns(table: Folder, there: DeltaTable, schema: type[dy.Schema]) -> DeltaTable:
    known = {field.name for field in there.schema().fields}
    columns = Schema.from_arrow(schema.create_empty().schema).fields
    new = [field for field in columns if field.name not in known]
    if not new:
        return there
    since = there.version()
    try:
        there.alter.add_columns(new)
    except CommitFailedError:
        there = opened(table)
        if not {field.name for field in new} <= {field.name for field in there.schema().fields}:
            raise
        # Another process added them in the same moment.
    table.settle(FOLDER, since)
    return there


def sync_log(folder: Path, since: int) -> None:
    """Returns when a log's entries after a version are on the disk.

    deltalake writes them without waiting for the disk, and a power failure may leave an entry
    empty, which undoes its commit, or half of it, which makes the table unreadable.
    """
    for path in folder.iterdir():
        version = path.name.partition(".")[0]
        is_new = version.isdecimal() and int(version) > since
        if path.name == LAST_CHECKPOINT or (is_new and "#" not in path.name):
            sync(path)
    sync(folder)


def folder_of(date: dt.date) -> str:
    """A partition's folder in its table's."""
    return f"date={date.isoformat()}"


def committed_names(table: DeltaTable, date: dt.date | None = None) -> set[str]:
    """The names of the part files that a partition's readers see, or those of all partitions."""
    # Names only: the paths come percent-encoded, which polars and the file system would not find.
    predicate = [("date", "=", date.isoformat())] if date is not None else None
    return {PurePosixPath(uri).name for uri in table.file_uris(file_pruning_predicate=predicate)}
