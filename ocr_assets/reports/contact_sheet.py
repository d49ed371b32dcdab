"""Frames, small and side by side, with their boxes drawn."""

import base64
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ocr_assets.ocr.boxes import TextBox
from ocr_assets.reports.pictures import jpeg, small_picture

CELL_WIDTH, CELL_HEIGHT = 256, 192
COLUMNS = 3
JPEG_QUALITIES = (70, 40, 20, 10)
MAX_BYTES = 50_000  # it is kept in the event log


def sheet_jpeg(cells: Sequence[NDArray[np.uint8]]) -> bytes:
    """Cells in rows of three as a JPEG of at most MAX_BYTES, if its quality can be made so low.

    Args:
        cells: As `frame_cell` makes them; of none, the sheet is empty.
    """
    if not cells:
        return b""
    columns = min(COLUMNS, len(cells))
    padded = [*cells, *[np.full_like(cells[0], 255)] * (-len(cells) % columns)]
    rows = [np.hstack(padded[start : start + columns]) for start in range(0, len(padded), columns)]
    rgb = np.vstack(rows)
    data = b""
    for quality in JPEG_QUALITIES:
        data = jpeg(rgb, quality)
        if len(data) <= MAX_BYTES:
            break
    return data


def sheet_markdown(sheet: bytes, title: str) -> str:
    """A sheet as a picture within Markdown."""
    if not sheet:
        return "No frames."
    return f"![{title}](data:image/jpeg;base64,{base64.b64encode(sheet).decode()})"


def frame_cell(rgb: NDArray[np.uint8], boxes: Sequence[TextBox], caption: str) -> NDArray[np.uint8]:
    """A frame, scaled down, with its boxes and a line of text under it.

    Args:
        rgb: uint8, (height, width, 3), RGB.
        boxes: What to draw, in the frame's pixels.
        caption: ASCII, some 30 characters.

    Returns:
        uint8, (208, 256, 3), RGB.
    """
    small = small_picture(rgb, boxes, CELL_WIDTH, CELL_HEIGHT)
    height, width = small.shape[:2]
    cell = np.full((CELL_HEIGHT + 16, CELL_WIDTH, 3), 255, np.uint8)
    top, left = (CELL_HEIGHT - height) // 2, (CELL_WIDTH - width) // 2
    cell[top : top + height, left : left + width] = small
    cv2.putText(
        cell,
        caption,
        (4, CELL_HEIGHT + 12),
        cv2.FONT_HERSHEY_SIMPLEX,
        0.4,
        (0, 0, 0),
        1,
        cv2.LINE_AA,
    )
    return cell
