import io

import numpy as np
from PIL import Image

from ocr_assets.ocr.boxes import rect_box
from ocr_assets.reports.contact_sheet import ContactSheet


def sheet_size(sheet: ContactSheet) -> tuple[int, int]:
    return Image.open(io.BytesIO(sheet.jpeg())).size


def test_a_sheet_keeps_the_most_covered_frame_of_each_of_the_most_covered_videos() -> None:
    sheet = ContactSheet(size=3)
    grounds = {"a": 0, "b": 60, "c": 120, "d": 180}
    for video, grey in grounds.items():
        picture = np.full((100, 200, 3), grey, np.uint8)
        for ratio in (grey / 1000, grey / 500):
            sheet.consider(picture, [], ratio, video)
    pixels = np.asarray(Image.open(io.BytesIO(sheet.jpeg())))
    assert [round(pixels[96, x, 0] / 60) * 60 for x in (128, 384, 640)] == [180, 120, 60]


def test_boxes_are_drawn_where_they_are_scaled_with_the_frame() -> None:
    sheet = ContactSheet()
    picture = np.zeros((384, 512, 3), np.uint8)
    sheet.consider(picture, [rect_box(100, 400, 100, 200)], 0.1, "a")
    pixels = np.asarray(Image.open(io.BytesIO(sheet.jpeg()))).astype(int)
    reddish = (pixels[:192, :, 0] - pixels[:192, :, 2]) > 60
    rows, columns = np.nonzero(reddish)
    assert (rows.min() // 4, rows.max() // 4) == (50 // 4, 100 // 4)
    assert (columns.min() // 4, columns.max() // 4) == (50 // 4, 200 // 4)


def test_a_sheet_grows_with_its_frames_and_is_empty_without() -> None:
    sheet = ContactSheet()
    assert sheet.markdown() == "No frames."
    for number in range(4):
        sheet.consider(np.zeros((10, 10, 3), np.uint8), [], number, str(number))
    width, height = sheet_size(sheet)
    assert (width, height) == (3 * 256, 2 * 208)
