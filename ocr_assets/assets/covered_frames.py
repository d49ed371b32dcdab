"""A look at the most text, for the page of `ocr_boxes`."""

import datetime as dt
from collections.abc import Iterable

import polars as pl

from ocr_assets.compute.most_covered import CoveredFrame
from ocr_assets.reports.contact_sheet import frame_cell, sheet_jpeg, sheet_markdown
from ocr_assets.tables.partitioned import PartitionedTable
from ocr_assets.video.images import decode_image


def covered_frames_markdown(
    table: PartitionedTable, date: dt.date, frames: Iterable[CoveredFrame]
) -> str:
    """Frames side by side with their boxes drawn, as a picture within Markdown; some tens of KB.

    Args:
        table: `sampled_frames`.
        date: The day.
        frames: Some of its frames.
    """
    cells = []
    for frame in frames:
        of_frame = pl.col("video_id") == frame.video_id, pl.col("frame_index") == frame.frame_index
        with table.reading(date):
            image = table.scan_part(frame.frames, date).filter(*of_frame).select("image").collect()
        caption = f"{frame.ratio:.3f}  {frame.video_id[:8]}"
        cells.append(frame_cell(decode_image(image.item(0, 0)), frame.boxes, caption))
    return sheet_markdown(sheet_jpeg(cells), "most covered frames")
