"""Frames, small and side by side: those with the most text with their boxes drawn, or any."""

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


class ContactSheet:
    """Keeps the most covered frame of each of the most covered videos, as pictures of one cell."""

    def __init__(self, size: int = 6) -> None:
        """Begins an empty sheet.

        Args:
            size: Most frames on the sheet.
        """
        self._size = size
        self._cells: dict[str, tuple[float, NDArray[np.uint8]]] = {}

    def wants(self, ratio: float, video_id: str) -> bool:
        """Whether a frame of that video, so covered, is among the most covered ones so far."""
        shown = self._cells.get(video_id)
        if shown is not None:
            return ratio > shown[0]
        return len(self._cells) < self._size or ratio > min(
            covered for covered, _ in self._cells.values()
        )

    def consider(
        self, rgb: NDArray[np.uint8], boxes: Sequence[TextBox], ratio: float, video_id: str
    ) -> None:
        """Takes a frame if it is among the most covered ones so far.

        Args:
            rgb: uint8, (height, width, 3), RGB.
            boxes: What to draw.
            ratio: How covered it is.
            video_id: Of each video, one frame is shown.
        """
        if not self.wants(ratio, video_id):
            return
        if video_id not in self._cells and len(self._cells) == self._size:
            del self._cells[min(self._cells, key=lambda key: self._cells[key][0])]
        self._cells[video_id] = (
            ratio,
            frame_cell(rgb, boxes, f"{ratio:.3f}  {video_id[:8]}"),
        )

    def jpeg(self) -> bytes:
        """The sheet, most covered first, or nothing if no frame was seen."""
        by_ratio = sorted(self._cells.values(), key=lambda item: -item[0])
        return sheet_jpeg([cell for _, cell in by_ratio])

    def markdown(self) -> str:
        """The sheet as a picture within Markdown, some tens of KB."""
        return sheet_markdown(self.jpeg(), "most covered frames")


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
