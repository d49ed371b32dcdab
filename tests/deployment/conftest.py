"""Days of small clips with text, for deployments to work on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ocr_assets.demo import Line
from tests.clips import text_picture, write_video

MakeDays = Callable[..., Path]


@pytest.fixture
def make_days(tmp_path: Path) -> MakeDays:
    """Makes `videos/<day>/<n>.mp4` for each day: three pictures each, all of them different.

    What has been seen before would not be sampled or detected again.
    """

    def make(days: list[str], clips: int = 1, width: int = 192, height: int = 128) -> Path:
        for day in days:
            folder = tmp_path / "videos" / day
            folder.mkdir(parents=True)
            for number in range(clips):
                subtitle = Line("SUBTITLE", 20, height // 2 + 5 * number, height // 5 + 2 * number)
                names = [Line(f"{day} {number} {index}", 4, 12, 14) for index in range(3)]
                pictures = [text_picture([subtitle, name], width, height) for name in names]
                write_video(folder / f"{number}.mp4", pictures)
        return tmp_path / "videos"

    return make


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        "OCR_ASSETS_SOURCE": str(tmp_path / "videos"),
        "OCR_ASSETS_DATA": str(tmp_path / "data"),
        "OCR_ASSETS_STATE": str(tmp_path / "state"),
        "OCR_ASSETS_FIRST_DATE": "2026-01-01",
        # Boxes are compared with those that tests find in their own process.
        "OCR_ASSETS_EASYOCR_PRECISION": "exact",
    }
