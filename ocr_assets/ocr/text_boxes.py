"""From CRAFT's score maps to text boxes in the frame, equal to EasyOCR's to the bit.

```python
boxes = extract_boxes(text_map, link_map, scale=1.0, thresholds=DetectionThresholds())
```
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ocr_assets.ocr.boxes import BoxError, TextBox, quad_box, rect_box
from ocr_assets.ocr.detector import DetectionError
from ocr_assets.ocr.text_regions import ScoreMap, find_regions
from ocr_assets.ocr.thresholds import DetectionThresholds

MAP_SCALE = 2  # canvas pixels per map pixel
LEAST_RUN = 10  # pixels that a slope is taken over, at least
SLANTED_MARGIN = 1.44  # of a slanted box, in margins of an upright one


def extract_boxes(
    text: ScoreMap, link: ScoreMap, scale: float, thresholds: DetectionThresholds
) -> list[TextBox]:
    """The text boxes that EasyOCR's `detect` makes of its score maps.

    Args:
        text: float32, (height, width), from `Craft.score_maps`.
        link: float32, (height, width), likewise.
        scale: Canvas pixels per frame pixel.
        thresholds: EasyOCR's parameters.

    Returns:
        Upright boxes, line by line from the top, then slanted ones, in pixels of the frame.

    Raises:
        DetectionError: The scores are not finite, or a box is not one. NaN is above no threshold,
            so that such a frame would pass for one without text.
    """
    if not (np.isfinite(text).all() and np.isfinite(link).all()):
        height, width = text.shape
        raise DetectionError(
            f"the scores of {width * MAP_SCALE}x{height * MAP_SCALE} pixels are not finite; "
            "precision `exact` may give them"
        )
    corners = find_regions(
        text,
        link,
        text_threshold=thresholds.text_threshold,
        low_text=thresholds.low_text,
        link_threshold=thresholds.link_threshold,
    )
    corners *= np.float64(1 / scale * MAP_SCALE)
    try:
        return group_regions(corners.reshape(-1, 8).astype(np.int32).tolist(), thresholds)
    except BoxError as error:
        raise DetectionError(str(error)) from error


def group_regions(
    regions: Iterable[Sequence[int]], thresholds: DetectionThresholds
) -> list[TextBox]:
    """Joins regions that are parts of one line, and adds margins (EasyOCR's `group_text_box`).

    Args:
        regions: The corners of each, x and y in turn, clockwise from the upper left, in pixels.
        thresholds: EasyOCR's parameters.
    """
    upright: list[_Upright] = []
    slanted: list[_Corners] = []
    for region in regions:
        if _slope(region) < thresholds.slope_ths:
            upright.append(_Upright.around(region))
        else:
            slanted.append(_with_margin(region, thresholds.add_margin))
    upright.sort(key=lambda box: box.middle)
    pieces = [
        piece.with_margin(thresholds.add_margin)
        for line in _lines(upright, thresholds)
        for piece in _pieces(line, thresholds)
    ]
    if thresholds.min_size:
        pieces = [one for one in pieces if max(one.width, one.height) > thresholds.min_size]
        slanted = [one for one in slanted if _extent(one) > thresholds.min_size]
    return [
        *(rect_box(one.left, one.right, one.top, one.bottom) for one in pieces),
        *(quad_box(one) for one in slanted),
    ]


_Corners = list[tuple[float, float]]


class _Upright(NamedTuple):
    left: int
    right: int
    top: int
    bottom: int

    @classmethod
    def around(cls, region: Sequence[int]) -> _Upright:
        xs, ys = region[::2], region[1::2]
        return cls(min(xs), max(xs), min(ys), max(ys))

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def middle(self) -> float:
        return 0.5 * (self.top + self.bottom)

    def joined(self, other: _Upright) -> _Upright:
        return _Upright(
            min(self.left, other.left),
            max(self.right, other.right),
            min(self.top, other.top),
            max(self.bottom, other.bottom),
        )

    def with_margin(self, share: float) -> _Upright:
        margin = int(share * min(self.width, self.height))
        return _Upright(
            self.left - margin, self.right + margin, self.top - margin, self.bottom + margin
        )


@dataclass
class _Mean:
    """Of integers and halves, so that it is exact in whatever order they are summed up."""

    total: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        self.total += value
        self.count += 1

    @property
    def value(self) -> float:
        return self.total / self.count


def _lines(
    upright: Sequence[_Upright], thresholds: DetectionThresholds
) -> Iterator[list[_Upright]]:
    """Boxes, sorted from the top, that are on the height of those before them in their line."""
    line: list[_Upright] = []
    height, middle = _Mean(), _Mean()
    for box in upright:
        far = line and not (abs(middle.value - box.middle) < thresholds.ycenter_ths * height.value)
        if far:
            yield line
            line, height, middle = [], _Mean(), _Mean()
        line.append(box)
        height.add(box.height)
        middle.add(box.middle)
    if line:
        yield line


def _pieces(line: list[_Upright], thresholds: DetectionThresholds) -> Iterator[_Upright]:
    """Joins the boxes of a line that are near each other and of similar height."""
    first, *others = sorted(line, key=lambda box: box.left)
    piece, right, height = first, first.right, _Mean()
    height.add(first.height)
    for box in others:
        similar = abs(height.value - box.height) < thresholds.height_ths * height.value
        near = box.left - right < thresholds.width_ths * box.height
        if similar and near:
            piece = piece.joined(box)
        else:
            yield piece
            piece, height = box, _Mean()
        height.add(box.height)
        right = box.right
    yield piece


def _slope(region: Sequence[int]) -> float:
    """The steeper one of a region's upper and lower side."""
    x1, y1, x2, y2, x3, y3, x4, y4 = region
    upper = (y2 - y1) / max(LEAST_RUN, x2 - x1)
    lower = (y3 - y4) / max(LEAST_RUN, x3 - x4)
    return max(abs(upper), abs(lower))


def _with_margin(region: Sequence[int], share: float) -> _Corners:
    """A slanted region, its corners moved outwards along the diagonals."""
    x1, y1, x2, y2, x3, y3, x4, y4 = region
    height = math.sqrt((x4 - x1) ** 2 + (y4 - y1) ** 2)
    width = math.sqrt((x2 - x1) ** 2 + (y2 - y1) ** 2)
    margin = int(SLANTED_MARGIN * share * min(width, height))
    # NumPy's functions: those of the C library may differ in the last bit.
    falling = abs(np.arctan((y1 - y3) / max(LEAST_RUN, x1 - x3)))
    rising = abs(np.arctan((y2 - y4) / max(LEAST_RUN, x2 - x4)))
    across, down = np.cos(falling) * margin, np.sin(falling) * margin
    across_rising, up = np.cos(rising) * margin, np.sin(rising) * margin
    return [
        (x1 - across, y1 - down),
        (x2 + across_rising, y2 - up),
        (x3 + across, y3 + down),
        (x4 - across_rising, y4 + up),
    ]


def _extent(corners: _Corners) -> float:
    """The longer side of the upright rectangle around the corners."""
    xs, ys = zip(*corners, strict=True)
    return float(max(max(xs) - min(xs), max(ys) - min(ys)))
