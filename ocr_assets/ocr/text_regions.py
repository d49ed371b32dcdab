"""From CRAFT's score maps to quadrilaterals around pieces of text.

The result is EasyOCR's (`getDetBoxes_core`) to the bit. EasyOCR goes over the whole map several
times for every piece of text; here each piece costs what its own surroundings cost.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

LEAST_AREA = 10  # of a region, in map pixels
SQUARE_TOLERANCE = 0.1  # how far a box's sides may differ to count as a square

ScoreMap = NDArray[np.float32]


def find_regions(
    text: ScoreMap,
    link: ScoreMap,
    *,
    text_threshold: float,
    low_text: float,
    link_threshold: float,
) -> NDArray[np.float32]:
    """The smallest rectangle around each region, grown by what the network leaves out.

    A region is a piece of the map, connected over sides, where the text or the link score is above
    its threshold, and whose best text score is at least `text_threshold`.

    Args:
        text: float32, (height, width): how likely a pixel is the middle of a letter.
        link: float32, (height, width): how likely it lies between two letters.
        text_threshold: Least text score of a region's best pixel.
        low_text: Text score above which a pixel belongs to a region.
        link_threshold: Link score above which it does.

    Returns:
        float32, (regions, 4, 2): the corners (x, y) in map pixels, clockwise from the one with the
        least x + y; rotated rectangles, so corners may leave the map.
    """
    text_score = cv2.threshold(text, low_text, 1, cv2.THRESH_BINARY)[1].astype(np.uint8)
    link_score = cv2.threshold(link, link_threshold, 1, cv2.THRESH_BINARY)[1].astype(np.uint8)
    labels: NDArray[np.int32]
    stats: NDArray[np.int32]
    _, labels, stats, _ = cv2.connectedComponentsWithStats(  # type: ignore[assignment]
        text_score | link_score, connectivity=4
    )
    # What links letters joins them to a region, but is no part of its shape.
    labels[text_score == 0] = 0
    strong = np.zeros(len(stats), bool)
    strong[labels[text >= np.float32(text_threshold)]] = True
    strong[0] = False  # the background
    wanted = np.flatnonzero(strong & (stats[:, cv2.CC_STAT_AREA] >= LEAST_AREA))
    boxes = np.empty((len(wanted), 4, 2), np.float32)
    for index, label in enumerate(wanted.tolist()):
        boxes[index] = _rectangle(labels, label, *stats[label].tolist())
    return boxes


def _rectangle(
    labels: NDArray[np.int32], label: int, x: int, y: int, width: int, height: int, area: int
) -> NDArray[np.float32]:
    grow = int(math.sqrt(area * min(width, height) / (width * height)) * 2)
    left, top = max(x - grow, 0), max(y - grow, 0)
    around = labels[top : y + height + grow + 1, left : x + width + grow + 1]
    kernel = np.ones((1 + grow, 1 + grow), np.uint8)
    grown = cv2.dilate((around == label).view(np.uint8), kernel)
    points: NDArray[np.int32] = cv2.findNonZero(grown).reshape(-1, 2)  # type: ignore[assignment]
    points += np.array((left, top), np.int32)
    rectangle: NDArray[Any] = cv2.boxPoints(cv2.minAreaRect(points))
    first, second = _length(rectangle[0] - rectangle[1]), _length(rectangle[1] - rectangle[2])
    ratio = max(first, second) / (min(first, second) + 1e-5)
    if abs(1 - ratio) <= SQUARE_TOLERANCE:
        # Of a round region any rectangle is the smallest: upright is meant.
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        corners = ((left, top), (right, top), (right, bottom), (left, bottom))
        rectangle = np.array(corners, np.float32)
    start = int(rectangle.sum(axis=1).argmin())
    return np.concatenate((rectangle[start:], rectangle[:start]))


def _length(side: NDArray[np.float32]) -> np.float32:
    # In fp32, as EasyOCR's: whether a box is a square may hang on the last bit.
    length: np.float32 = np.sqrt(side.dot(side))
    return length
