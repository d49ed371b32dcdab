"""Frames that another run has sampled already, from videos of the same content."""

import datetime as dt
import itertools
from collections.abc import Collection, Iterator

import polars as pl

from ocr_assets.reasons import Status
from ocr_assets.tables.partitioned import PartitionedTable
from ocr_assets.tables.storage_errors import UNREADABLE_PART, reason

PARTS_IN_MEMORY = 2  # a video's frames can lie on both sides of a border


class FramesGoneError(Exception):
    """A part file that was there can be read no more."""


class ReusedFrames:
    """The rows of `sampled_frames` that need not be made again; part files are read one by one."""

    def __init__(
        self,
        table: PartitionedTable,
        days: dict[dt.date, list[str]],
        sampling_key: str,
        video_ids: Collection[str],
    ) -> None:
        """Looks for videos; their images are not read yet.

        Args:
            table: `sampled_frames`.
            days: Its partitions to look through and their part files, the nearest first. One of
                which a file is missing or torn is passed over, and so is a video that could not be
                read to its end there.
            sampling_key: That of the frames.
            video_ids: The videos.
        """
        self._table = table
        self._parts: dict[str, list[tuple[dt.date, str]]] = {}
        self._in_memory: dict[str, pl.DataFrame] = {}
        missing = set(video_ids)
        for day, paths in days.items():
            if not missing:
                return
            try:
                found = self._find(day, paths, sampling_key, missing)
            except UNREADABLE_PART:
                continue
            self._parts |= found
            missing -= found.keys()

    def __contains__(self, video_id: object) -> bool:
        """Whether a video's frames are there."""
        return video_id in self._parts

    def rows(self, video_id: str) -> Iterator[pl.DataFrame]:
        """A video's rows, without `date`, one by one.

        Raises:
            FramesGoneError: They are there no more.
        """
        places = self._parts[video_id]
        try:
            parts = [self._load(day, path) for day, path in places[:PARTS_IN_MEMORY]]
            for day, path in places[PARTS_IN_MEMORY:]:  # are they there, and whole?
                self._table.scan_part(path, day).select(pl.len()).collect()
        except UNREADABLE_PART as error:
            raise FramesGoneError(reason(error)) from error
        return self._rows(video_id, parts, places[PARTS_IN_MEMORY:])

    def _rows(
        self, video_id: str, parts: list[pl.DataFrame], others: list[tuple[dt.date, str]]
    ) -> Iterator[pl.DataFrame]:
        for part in itertools.chain(parts, itertools.starmap(self._load, others)):
            rows = part.filter(pl.col("video_id") == video_id)
            # Of earlier versions the status is null; what is reused has no error.
            yield from rows.with_columns(status=pl.lit(Status.OK)).iter_slices(1)

    def _load(self, day: dt.date, path: str) -> pl.DataFrame:
        if path not in self._in_memory:
            while len(self._in_memory) >= PARTS_IN_MEMORY:
                del self._in_memory[next(iter(self._in_memory))]
            self._in_memory[path] = self._table.scan_part(path, day).drop("date").collect()
        return self._in_memory[path]

    def _find(
        self, day: dt.date, paths: list[str], sampling_key: str, video_ids: Collection[str]
    ) -> dict[str, list[tuple[dt.date, str]]]:
        found: dict[str, list[tuple[dt.date, str]]] = {}
        refused: set[str] = set()
        is_good = (pl.col("sampling_key") == sampling_key) & pl.col("error").is_null()
        for path in paths:
            videos = (
                self._table.scan_part(path, day)
                .group_by("video_id", maintain_order=True)
                .agg(is_good.fill_null(value=False).all().alias("is_good"))
                .collect()
            )
            for video_id, good in videos.iter_rows():
                if not good:
                    refused.add(video_id)
                elif video_id in video_ids:
                    found.setdefault(video_id, []).append((day, path))
        return {video_id: places for video_id, places in found.items() if video_id not in refused}
