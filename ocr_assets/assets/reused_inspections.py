"""What an earlier run has found out about files that have not changed since."""

import datetime as dt
from pathlib import Path

import polars as pl

from ocr_assets.object_storage import StorageOptionsError, is_object_url
from ocr_assets.reasons import Status
from ocr_assets.tables.partitioned import PartitionedTable, PartitionMissingError
from ocr_assets.tables.schemas import VideoManifest
from ocr_assets.tables.storage_errors import UNREADABLE_PART
from ocr_assets.tables.stored_path import stored_path
from ocr_assets.video.listing import VideoReference
from ocr_assets.video.object_version import current_version
from ocr_assets.video.source_file import Storage, file_state

# What depends on the file and its path alone.
COLUMNS = [
    name
    for name in VideoManifest.column_names()
    if name not in ("date", "sample_id", "sample_index", "video_index", "sample_json")
]


class ReusedInspections:
    """Rows of a day's earlier `video_manifest` whose files need not be read again.

    Only of readable files: what was wrong with the others may have been mended.

    Attributes:
        reused: How many rows have been given so far.
    """

    def __init__(
        self,
        table: PartitionedTable | None,
        date: dt.date,
        key: str,
        storage: Storage | None = None,
    ) -> None:
        """Reads the partition.

        Args:
            table: `video_manifest`; None if nothing is to be reused.
            date: The partition. One that is missing or torn has no rows.
            key: What decides on a row besides the file, as a hash.
            storage: How videos that are objects are reached.
        """
        self.reused = 0
        self._storage = storage or Storage()
        self._key = key
        self._rows = pl.DataFrame()
        self._places: dict[str, int] = {}
        if table is None:
            return
        try:
            good = table.scan(date).filter(
                pl.col("status") == Status.OK, pl.col("file_state").str.starts_with(f"{key} ")
            )
            self._rows = good.select(COLUMNS).unique("path", keep="any").collect()
        except (PartitionMissingError, *UNREADABLE_PART):
            return
        paths = self._rows.select("path", "path_bytes").iter_rows()
        self._places = {stored_path(path, data): place for place, (path, data) in enumerate(paths)}

    def row(self, video: VideoReference) -> dict[str, object] | None:
        """The columns that depend on the file; None if it is to be looked at."""
        place = self._places.get(video.path)
        if place is None or video.fault is not None:
            return None
        row = self._rows.row(place, named=True)
        try:
            now = self._state(video)
        except (OSError, StorageOptionsError):
            return None  # looking at it says what is wrong
        if row["file_state"] != f"{self._key} {now}":
            return None
        self.reused += 1
        return row

    def _state(self, video: VideoReference) -> str:
        """What the file or object is like now; an object is asked only if no listing told it."""
        if not is_object_url(video.path):
            return file_state(Path(video.path).stat())
        version = video.version or current_version(video.path, self._storage)
        return version.state(self._storage.identity)
