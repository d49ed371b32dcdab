"""Where on the frame the text of a day is."""

import datetime as dt
from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ocr_assets.tables.box_columns import corners_of
from ocr_assets.tables.partitioned import PartitionedTable

COLUMNS, ROWS = 48, 27


def heat_map(ocr_boxes: PartitionedTable, date: dt.date) -> NDArray[np.float64]:
    """The share of a day's frames that have text in each place.

    Every frame is stretched to the same size. A place counts as text where its middle is within the
    bounds of a box.

    Returns:
        (27, 48), in [0, 1]: rows from the top, columns from the left. Zeros if there are no frames.

    Raises:
        PartitionMissingError: The day was never written.
        TableDamagedError: It cannot be read.
    """
    total = np.zeros((ROWS, COLUMNS), np.int64)
    frames = 0
    for part in ocr_boxes.scan_parts(date):
        detected = part.filter(pl.col("error").is_null()).select("width", "height", "boxes")
        with ocr_boxes.reading(date):
            rows = detected.collect()
        frames += rows.height
        for cells in _cells(rows):
            total += cells
    return total / max(frames, 1)


def _cells(frames: pl.DataFrame) -> Iterator[NDArray[np.bool_]]:
    """Of each frame with text, which places are covered."""
    with_text = frames.filter(pl.col("boxes").list.len() > 0)
    counts = with_text["boxes"].list.len().to_list()
    corners = corners_of(with_text["boxes"])
    sizes = with_text.select(pl.col("width", "height").cast(pl.Float64)).to_numpy()
    scale = np.repeat(np.array([COLUMNS, ROWS]) / sizes, counts, axis=0)
    # A box has the places whose middles, at a half, are between its sides.
    first = np.ceil(corners.min(axis=1) * scale - 0.5).clip(0, (COLUMNS, ROWS)).astype(int)
    end = (np.floor(corners.max(axis=1) * scale - 0.5) + 1).clip(0, (COLUMNS, ROWS)).astype(int)
    begin = 0
    for count in counts:
        covered = np.zeros((ROWS, COLUMNS), np.bool_)
        for (left, top), (right, bottom) in zip(
            first[begin : begin + count].tolist(), end[begin : begin + count].tolist(), strict=True
        ):
            covered[top:bottom, left:right] = True
        yield covered
        begin += count
