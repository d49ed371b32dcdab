"""Where on the frame text is, and whether it stays there. Pure functions over rows of `ocr_boxes`.

```python
place_ratios(boxes.filter(pl.col("error").is_null()))  # one row a video
```
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ocr_assets.box_areas import covered_pixels
from ocr_assets.tables.box_columns import corners_of

# Where the columns and rows of zones begin and end, as shares of the frame; the zones are made of
# the nine cells between. The bottom corners lie in the subtitle zone.
EDGES = (0.0, 0.25, 0.75, 1.0)
ZONES = {
    "subtitle_zone_ratio": ((2, 0), (2, 1), (2, 2)),
    "corner_ratio": ((0, 0), (0, 2), (2, 0), (2, 2)),
    "centre_ratio": ((1, 1),),
}
STATIC = "static_text_ratio"

# The detector puts a box around the same text in another frame a few pixels elsewhere.
TOLERANCE_OF_TEXT_SIZE = 0.25
LEAST_TOLERANCE_PIXELS = 2.0
# Less than that of a frame, boxes do not overlap but for rounding.
ROUNDING = 1e-9

Floats = NDArray[np.float64]


def place_ratios(frames: pl.DataFrame) -> pl.DataFrame:
    """Per video, how much of the frame is text in some places, and text that stays in its place.

    Each is a share of the whole frame in [0, 1], with overlaps counted once. The zones' are means
    over the frames: `subtitle_zone_ratio` is of the bottom quarter, `corner_ratio` of four corners
    of a quarter of the width and height, `centre_ratio` of the middle half of width and height.
    `static_text_ratio` is of the boxes that every frame of the video has in the same place, each
    side within a quarter of the box's shorter side: watermarks and logos, and not subtitles. It is
    null where fewer than two frames were sampled.

    Args:
        frames: Rows of `ocr_boxes` without `error`: video_id, width, height (pixels), boxes and
            union_area_ratio, all frames of a video one after the other.

    Returns:
        video_id and the four ratios, in the order of the videos. NaN where coordinates are.
    """
    day = _flat(frames)
    cells = _cell_shares(day)
    columns = {
        name: np.sum([cells[:, row, column] for row, column in zone], axis=0)
        for name, zone in ZONES.items()
    }
    per_frame = frames.select("video_id").with_columns(
        pl.Series(name, shares) for name, shares in columns.items()
    )
    zones = per_frame.group_by("video_id", maintain_order=True).agg(pl.col(*ZONES).mean())
    lengths = frames["video_id"].rle().struct.field("len").to_list()
    ends = list(itertools.accumulate(lengths))
    static = [
        _static_share(day, end - length, end) for length, end in zip(lengths, ends, strict=True)
    ]
    return zones.with_columns(pl.Series(STATIC, static, pl.Float64))


@dataclass(frozen=True)
class _Flat:
    """The boxes of frames one after the other.

    Attributes:
        sizes: (frames, 2), width and height in pixels.
        counts: (frames), how many boxes each has.
        starts: (frames + 1), each frame's first box.
        corners: (boxes, 4, 2), in pixels.
        sides: (boxes, 4), left, top, right and bottom of each, in pixels.
        shares: (boxes), how much of the frame is under it, in [0, 1], of an upright rectangle.
        rectangular: (boxes), whether it is an upright rectangle.
        simple: (frames), whether all boxes are and none overlaps another.
    """

    sizes: Floats
    counts: NDArray[np.int64]
    starts: NDArray[np.int64]
    corners: Floats
    sides: Floats
    shares: Floats
    rectangular: NDArray[np.bool_]
    simple: NDArray[np.bool_]

    def frame(self, index: int) -> slice:
        """Where a frame's boxes are."""
        return slice(int(self.starts[index]), int(self.starts[index + 1]))


def _flat(frames: pl.DataFrame) -> _Flat:
    # What has no area covers nothing.
    with_area = pl.element().filter(pl.element().struct.field("area_pixels") > 0)
    frames = frames.with_columns(pl.col("boxes").list.eval(with_area))
    counts = frames["boxes"].list.len().cast(pl.Int64).to_numpy()
    corners = corners_of(frames["boxes"])
    kinds = frames["boxes"].filter(frames["boxes"].list.len() > 0).explode().struct.field("kind")
    rectangular = (kinds == "rect").to_numpy()
    sizes = frames.select(pl.col("width", "height").cast(pl.Float64)).to_numpy()
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    frame_of_box = np.repeat(np.arange(len(counts)), counts)
    sides = _bounds(corners)
    upright = np.bincount(frame_of_box, ~rectangular, len(counts)) == 0
    shares = _overlaps(sides, sizes[frame_of_box], (0.0, 1.0)).prod(axis=0).ravel()
    in_all = np.bincount(frame_of_box, shares, len(counts))
    apart = np.abs(in_all - frames["union_area_ratio"].to_numpy()) < ROUNDING
    return _Flat(sizes, counts, starts, corners, sides, shares, rectangular, upright & apart)


def _bounds(corners: Floats) -> Floats:
    """(boxes, 4): left, top, right, bottom."""
    sides: Floats = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    return sides


def _overlaps(sides: Floats, sizes: Floats, edges: Sequence[float]) -> Floats:
    """(2, boxes, cells): how much of each column, then row, boxes span, as shares of the frame."""
    shares = (sides / np.tile(sizes, 2)).reshape(-1, 2, 2)  # (boxes, begin and end, x and y)
    begin = np.maximum(shares[:, 0, :, None], edges[:-1])
    end = np.minimum(shares[:, 1, :, None], edges[1:])
    return (end - begin).clip(0).transpose(1, 0, 2)


def _cell_shares(day: _Flat) -> Floats:
    """(frames, 3, 3): how much of the frame is text in each cell, as a share of the frame."""
    count = len(day.sizes)
    frame_of_box = np.repeat(np.arange(count), day.counts)
    columns, rows = _overlaps(day.sides, day.sizes[frame_of_box], EDGES)
    cells = np.zeros((count, 3, 3))
    for row, column in np.ndindex(3, 3):
        cells[:, row, column] = np.bincount(frame_of_box, rows[:, row] * columns[:, column], count)
    for index in np.flatnonzero(~day.simple).tolist():
        cells[index] = _covered_shares(day, index, day.frame(index), EDGES)
    return cells


def _covered_shares(
    day: _Flat, frame: int, boxes: slice | NDArray[np.int64], edges: Sequence[float]
) -> Floats:
    """The same of one frame, whatever shape its boxes are and however they overlap."""
    corners = day.corners[boxes]
    if not np.isfinite(corners).all():
        return np.full((len(edges) - 1, len(edges) - 1), np.nan)
    width, height = day.sizes[frame].tolist()
    covered = covered_pixels(
        corners,
        rectangular=bool(day.rectangular[boxes].all()),
        x_edges=[edge * width for edge in edges],
        y_edges=[edge * height for edge in edges],
    )
    shares: Floats = covered / (width * height)
    return shares


def _static_share(day: _Flat, first: int, end: int) -> float | None:
    """The share of the frame under text that frames `first` to `end` all have in the same place."""
    if end - first < 2:
        return None
    # What is in every frame is in the one with the least.
    base = first + int(day.counts[first:end].argmin())
    if not day.counts[base]:
        return 0.0
    here = day.frame(base)
    sides, size = day.sides[here], day.sizes[base]
    shorter = (sides[:, 2:] - sides[:, :2]).min(axis=1)
    tolerance = np.maximum(TOLERANCE_OF_TEXT_SIZE * shorter, LEAST_TOLERANCE_PIXELS)[:, None, None]
    stays = np.ones(len(sides), np.bool_)
    for other in range(first, end):
        if other != base:
            # As they would be on a frame of the same size.
            there = day.sides[day.frame(other)] * np.tile(size / day.sizes[other], 2)
            stays &= (np.abs(sides[:, None] - there[None]) <= tolerance).all(axis=2).any(axis=1)
            if not stays.any():
                return 0.0
    if day.simple[base]:
        share = day.shares[here][stays].sum()
    else:
        static = np.arange(here.start, here.stop)[stays]
        share = _covered_shares(day, base, static, (0.0, 1.0)).item()
    # So put that NaN stays NaN: rounding may make a little more than the whole.
    return float(np.minimum(share, 1.0))
