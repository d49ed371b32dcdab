import io

import numpy as np
from PIL import Image

from ocr_assets.ocr.boxes import rect_box
from ocr_assets.reports.contact_sheet import frame_cell, sheet_jpeg, sheet_markdown


def test_boxes_are_drawn_where_they_are_scaled_with_the_frame() -> None:
    picture = np.zeros((384, 512, 3), np.uint8)
    cell = frame_cell(picture, [rect_box(100, 400, 100, 200)], "0.100  a")
    pixels = np.asarray(Image.open(io.BytesIO(sheet_jpeg([cell])))).astype(int)
    reddish = (pixels[:192, :, 0] - pixels[:192, :, 2]) > 60
    rows, columns = np.nonzero(reddish)
    assert (rows.min() // 4, rows.max() // 4) == (50 // 4, 100 // 4)
    assert (columns.min() // 4, columns.max() // 4) == (50 // 4, 200 // 4)


def test_a_sheet_grows_with_its_frames_and_is_empty_without() -> None:
    assert sheet_markdown(sheet_jpeg([]), "frames") == "No frames."
    cells = [frame_cell(np.zeros((10, 10, 3), np.uint8), [], str(number)) for number in range(4)]
    assert Image.open(io.BytesIO(sheet_jpeg(cells))).size == (3 * 256, 2 * 208)
