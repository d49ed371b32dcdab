"""A look at what was sampled, for the page of `sampled_frames`."""

import datetime as dt
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ocr_assets.compute.frames_work import FramesUnit
from ocr_assets.markdown_table import Cell, markdown_table
from ocr_assets.reports.contact_sheet import frame_cell, sheet_jpeg, sheet_markdown
from ocr_assets.tables.part import Part
from ocr_assets.tables.partitioned import PartitionedTable
from ocr_assets.video.images import decode_image

MOST_VIDEOS = 6


class FirstFrames:
    """The first frame that passes by of some videos, which are spread over the day's list."""

    def __init__(self, video_ids: pl.Series) -> None:
        """Chooses the videos.

        Args:
            video_ids: The day's.
        """
        count = min(len(video_ids), MOST_VIDEOS)
        self._wanted = {video_ids[place * len(video_ids) // count] for place in range(count)}
        self._cells: list[NDArray[np.uint8]] = []
        self._rows: list[tuple[Cell, ...]] = []

    def look(
        self, table: PartitionedTable, date: dt.date, unit: FramesUnit, parts: Sequence[Part]
    ) -> None:
        """Takes what there is of the videos in the part files of a unit.

        Args:
            table: `sampled_frames`.
            date: The day.
            unit: What was sampled.
            parts: Its part files, in order.
        """
        paths = {video.video_id: video.path for video in unit.videos}
        wanted = pl.col("video_id").is_in([*(self._wanted & paths.keys())])
        if not self._wanted & paths.keys():
            return
        for part in parts:
            with table.reading(date):
                rows = table.scan_part(part.relative, date).filter(wanted).collect()
            for row in rows.iter_slices(1):
                self.consider(row, paths[row["video_id"].item()])

    def consider(self, row: pl.DataFrame, path: str) -> None:
        """Takes the frame if it is the first of one of the videos.

        Args:
            row: One of `sampled_frames`.
            path: The video's.
        """
        video_id, image, seconds = row.select("video_id", "image", "timestamp_seconds").row(0)
        if video_id not in self._wanted or image is None:
            return
        try:
            rgb = decode_image(image)
        except ValueError:
            return  # copied from another day's part; the check stored_frames_decode is for that
        self._wanted.remove(video_id)
        self._cells.append(frame_cell(rgb, [], f"{seconds:.2f} s  {video_id[:8]}"))
        self._rows.append((video_id[:8], path, f"{seconds:.2f} s"))

    def markdown(self) -> str:
        """The frames side by side, and which videos they are of; some tens of KB."""
        sheet = sheet_markdown(sheet_jpeg(self._cells), "first frames")
        if not self._cells:
            return sheet
        return f"{sheet}\n\n{markdown_table(('video_id', 'path', 'at'), self._rows)}"
