"""Text that another run has found already, on frames with the same pixels."""

import datetime as dt
from collections.abc import Collection, Iterable
from typing import Any

import polars as pl

from ocr_assets.tables.partitioned import PartitionedTable
from ocr_assets.tables.storage_errors import UNREADABLE_PART

# What is taken over: all that was found on the frame, and where and how fast.
COLUMNS = ("boxes", "ocr_area_ratio", "union_area_ratio", "device", "milliseconds")


class ReusedBoxes:
    """The rows of `ocr_boxes` that need not be made again; part files are read one by one."""

    def __init__(
        self,
        table: PartitionedTable,
        days: dict[dt.date, list[str]],
        detection_key: str,
        image_hashes: Collection[str],
    ) -> None:
        """Looks for frames; what was found on them is not read yet.

        Args:
            table: `ocr_boxes`.
            days: Its partitions to look through and their part files, the nearest first. One is
                looked through up to the first file that is missing or torn.
            detection_key: That of the boxes.
            image_hashes: The frames.
        """
        self._table = table
        self._days: dict[str, dt.date] = {}
        self._parts: dict[str, str] = {}
        self._detection_key = detection_key
        for day, paths in days.items():
            missing = pl.LazyFrame({"image_hash": [*{*image_hashes} - self._parts.keys()]})
            try:
                for path in paths:
                    found = self._good(path, day).join(missing, on="image_hash", how="semi")
                    hashes = found.select("image_hash").collect().to_series()
                    self._parts |= dict.fromkeys(hashes, path)
                    self._days[path] = day
            except UNREADABLE_PART:
                continue

    def count(self, image_hashes: Iterable[str | None]) -> int:
        """How many of them are known."""
        return sum(image_hash in self._parts for image_hash in image_hashes)

    def rows(self, image_hashes: Collection[str]) -> dict[str, dict[str, Any]]:
        """What is known of frames, the columns COLUMNS by hash, without those that are not known.

        A part file that is gone by now makes its frames unknown.
        """
        wanted: dict[str, list[str]] = {}
        for image_hash in image_hashes:
            if image_hash in self._parts:
                wanted.setdefault(self._parts[image_hash], []).append(image_hash)
        known: dict[str, dict[str, Any]] = {}
        for path, hashes in wanted.items():
            here = self._good(path, self._days[path]).filter(pl.col("image_hash").is_in(hashes))
            try:
                rows = here.select("image_hash", *COLUMNS).collect()
            except UNREADABLE_PART:
                continue
            known |= {row.pop("image_hash"): row for row in rows.to_dicts()}
        return known

    def _good(self, path: str, day: dt.date) -> pl.LazyFrame:
        return self._table.scan_part(path, day).filter(
            pl.col("detection_key") == self._detection_key, pl.col("error").is_null()
        )
