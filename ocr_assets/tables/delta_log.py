"""What deltalake leaves to its callers: commits that stay, and the names of a partition's files."""

from __future__ import annotations

import datetime as dt
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

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
