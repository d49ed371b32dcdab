"""Frames that another run has sampled already, from videos of the same content."""

import datetime as dt
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from ocr_assets.reasons import Status
from ocr_assets.tables.partitioned import PartitionedTable
from ocr_assets.tables.storage_errors import UNREADABLE_PART

PARTS_IN_MEMORY = 2  # a video's frames can lie on both sides of a border

FramePlaces = Sequence[tuple[dt.date, str]]
"""Part files of `sampled_frames`, in order, and the day that each is of."""


class FramesGoneError(Exception):
    """A part file that was there can be read no more."""


def find_frames(
    table: PartitionedTable,
    days: Mapping[dt.date, list[str]],
    sampling_key: str,
    video_ids: pl.Series,
) -> dict[str, FramePlaces]:
    """In which part files there are frames of videos; their images are not read.

    Args:
        table: `sampled_frames`.
        days: Its partitions to look through and their part files, the nearest first. One of which
            a file is missing or torn is passed over, and so is a video that could not be read to
            its end there.
        sampling_key: That of the frames.
        video_ids: The videos.
    """
    found: dict[str, FramePlaces] = {}
    missing: set[str] = set(video_ids) if days else set()
    for day, paths in days.items():
        if not missing:
            break
        try:
            of_day = _of_day(table, day, paths, sampling_key, missing)
        except UNREADABLE_PART:
            continue
        found |= of_day
        missing -= of_day.keys()
    return found


class FrameParts:
    """The rows of part files of `sampled_frames`, read one by one; two are in memory at most."""

    def __init__(self, table: PartitionedTable) -> None:
        """Nothing is read yet."""
        self._table = table
        self._in_memory: dict[str, pl.DataFrame] = {}

    def rows(self, video_id: str, places: FramePlaces) -> Iterator[dict[str, Any]]:
        """A video's rows, without `date`, one by one.

        Raises:
            FramesGoneError: They are there no more.
        """
        try:
            parts = [self._load(day, path) for day, path in places[:PARTS_IN_MEMORY]]
            for day, path in places[PARTS_IN_MEMORY:]:  # are they there, and whole?
                self._table.scan_part(path, day).select(pl.len()).collect()
        except UNREADABLE_PART as error:
            raise FramesGoneError(str(error)) from error
        return self._rows(video_id, parts, places[PARTS_IN_MEMORY:])

    def _rows(
        self, video_id: str, parts: list[pl.DataFrame], others: FramePlaces
    ) -> Iterator[dict[str, Any]]:
        for part in itertools.chain(parts, itertools.starmap(self._load, others)):
            rows = part.filter(pl.col("video_id") == video_id)
            # Of earlier versions the status is null; what is reused has no error.
            yield from rows.with_columns(status=pl.lit(Status.OK)).iter_rows(named=True)

    def _load(self, day: dt.date, path: str) -> pl.DataFrame:
        if path not in self._in_memory:
            while len(self._in_memory) >= PARTS_IN_MEMORY:
                del self._in_memory[next(iter(self._in_memory))]
            self._in_memory[path] = self._table.scan_part(path, day).drop("date").collect()
        return self._in_memory[path]


def _of_day(
    table: PartitionedTable,
    day: dt.date,
    paths: Sequence[str],
    sampling_key: str,
    video_ids: Collection[str],
) -> dict[str, FramePlaces]:
    found: dict[str, list[tuple[dt.date, str]]] = {}
    refused: set[str] = set()
    is_good = (pl.col("sampling_key") == sampling_key) & pl.col("error").is_null()

    def videos_of(rows: pl.LazyFrame) -> pl.LazyFrame:
        return rows.group_by("video_id", maintain_order=True).agg(
            is_good.fill_null(value=False).all().alias("is_good")
        )

    for path, videos in zip(paths, table.collect_parts(paths, day, videos_of), strict=True):
        for video_id, good in videos.iter_rows():
            if not good:
                refused.add(video_id)
            elif video_id in video_ids:
                found.setdefault(video_id, []).append((day, path))
    return {video_id: places for video_id, places in found.items() if video_id not in refused}
