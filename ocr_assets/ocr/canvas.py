"""What the network sees of a frame: scaled if need be, and padded with black."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ocr_assets.ocr.thresholds import DetectionThresholds

Picture = NDArray[np.uint8]


class PictureSizeError(ValueError):
    """A picture too narrow to be scaled to the canvas."""


def fill_canvases(
    canvases: NDArray[np.uint8], pictures: Sequence[Picture], thresholds: DetectionThresholds
) -> None:
    """Draws each picture, scaled, into the upper left of its canvas; the rest becomes black.

    Args:
        canvases: uint8, (n, *thresholds.canvas_shape(width, height), 3); filled.
        pictures: uint8, (height, width, 3), n of one size.
        thresholds: Their canvas_size and mag_ratio count.

    Raises:
        PictureSizeError: Nothing is left of the shorter side.
    """
    height, width = pictures[0].shape[:2]
    scale = thresholds.scale(width, height)
    rows, columns = int(height * scale), int(width * scale)
    if min(rows, columns) < 1:
        raise PictureSizeError(
            f"{width}x{height} pixels leave {columns}x{rows} on a canvas of "
            f"{thresholds.canvas_size} pixels"
        )
    canvases[:, rows:] = 0
    canvases[:, :, columns:] = 0
    for canvas, picture in zip(canvases, pictures, strict=True):
        same = (rows, columns) == (height, width)
        canvas[:rows, :columns] = picture if same else cv2.resize(picture, (columns, rows))
