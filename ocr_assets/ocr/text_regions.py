"""From CRAFT's score maps to quadrilaterals around pieces of text.

The result is EasyOCR's (`getDetBoxes_core`) to the bit. EasyOCR goes over the whole map several
times for every piece of text; here each piece costs what its own surroundings cost.
"""

from __future__ import annotations

import functools
import math

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
    is_text = text > np.float32(low_text)
    linked = is_text | (link > np.float32(link_threshold))
    labels: NDArray[np.int32]
    count, labels = cv2.connectedComponents(  # type: ignore[assignment]
        linked.view(np.uint8), connectivity=4
    )
    if count == 1:
        return np.empty((0, 4, 2), np.float32)  # there is nothing but the background
    # OpenCV could give sizes and places too, but takes longer for the background than all else.
    rows, columns = divmod(np.flatnonzero(linked), linked.shape[1])
    label_of = labels[linked]
    areas = np.bincount(label_of, minlength=count)
    strong = np.zeros(count, bool)
    strong[labels[(text >= np.float32(text_threshold)) & is_text]] = True
    wanted = np.flatnonzero(strong & (areas >= LEAST_AREA))
    left, top = np.full(count, text.shape[1]), np.full(count, text.shape[0])
    right, bottom = np.zeros(count, int), np.zeros(count, int)
    np.minimum.at(left, label_of, columns)
    np.maximum.at(right, label_of, columns)
    np.minimum.at(top, label_of, rows)
    np.maximum.at(bottom, label_of, rows)
    places = np.stack((left, top, right - left + 1, bottom - top + 1, areas), axis=1)
    boxes = np.empty((len(wanted), 4, 2), np.float32)
    labels *= is_text  # what links letters joins them to a region, but is no part of its shape
    for index, (label, place) in enumerate(
        zip(wanted.tolist(), places[wanted].tolist(), strict=True)
    ):
        boxes[index] = _rectangle(labels, label, *place)
    # Clockwise from the corner with the least x + y.
    starts = boxes.sum(axis=2).argmin(axis=1)
    order = (starts[:, None] + np.arange(4)) % 4
    return np.take_along_axis(boxes, order[:, :, None], axis=1)


def _rectangle(
    labels: NDArray[np.int32], label: int, x: int, y: int, width: int, height: int, area: int
) -> NDArray[np.float32]:
    grow = int(math.sqrt(area * min(width, height) / (width * height)) * 2)
    left, top = max(x - grow, 0), max(y - grow, 0)
    around = labels[top : y + height + grow + 1, left : x + width + grow + 1]
    grown = cv2.dilate((around == label).view(np.uint8), _square(1 + grow))
    points = _outline(grown, left, top)
    smallest = cv2.minAreaRect(points)
    rectangle: NDArray[np.float32] = cv2.boxPoints(smallest)  # type: ignore[assignment]
    if _is_square(rectangle, *smallest[1]):
        # Of a round region any rectangle is the smallest: upright is meant.
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        corners = ((left, top), (right, top), (right, bottom), (left, bottom))
        rectangle = np.array(corners, np.float32)
    return rectangle


def _outline(shape: cv2.typing.MatLike, left: int, top: int) -> NDArray[np.int32]:
    """The corners of a shape: the smallest rectangle around them is that around all its points.

    They come row by row, as all points would: where several rectangles are the smallest, OpenCV's
    choice depends on the order.
    """
    contours, _ = cv2.findContours(
        shape, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top)
    )
    corners = np.concatenate(contours).reshape(-1, 2).astype(np.int32, copy=False)
    return corners[np.lexsort(corners.T)]


def _is_square(rectangle: NDArray[np.float32], width: float, height: float) -> bool:
    if abs(width - height) > 2 * SQUARE_TOLERANCE * max(width, height):
        return False  # whatever the last bit is
    first, second = rectangle[0] - rectangle[1], rectangle[1] - rectangle[2]
    # In fp32, as EasyOCR's: whether a box is a square may hang on the last bit.
    one, other = np.sqrt(first.dot(first)), np.sqrt(second.dot(second))
    return bool(abs(1 - max(one, other) / (min(one, other) + 1e-5)) <= SQUARE_TOLERANCE)


@functools.lru_cache(maxsize=256)
def _square(side: int) -> NDArray[np.uint8]:
    return np.ones((side, side), np.uint8)
