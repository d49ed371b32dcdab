"""The detector on the nodes of a test's Ray cluster."""

import os
import time
from pathlib import Path

from ocr_assets.ocr.boxes import TextBox
from ocr_assets.ocr.canvas import Picture
from ocr_assets.ocr.detector import Detector, ModelSettings
from ocr_assets.ocr.weights import WeightsError
from tests.fake_nvml import STATE_VARIABLE
from tests.gpu.fake_detector import FakeLoader, made_up_text

LOG_VARIABLE = "FAKE_DETECTOR_LOG"


def load(settings: ModelSettings, device: str, uuid: str) -> Detector:
    """Loads a fake one and writes down that it did.

    Raises:
        WeightsError: There is a file `unfit` beside the log.
    """
    if Path(os.environ[LOG_VARIABLE]).with_name("unfit").exists():
        raise WeightsError("there are no weights here")
    log(f"loaded {device} {uuid}")
    return FakeLoader(Path(os.environ[STATE_VARIABLE]), find=find)(settings, device, uuid)


def find(picture: Picture) -> list[TextBox]:
    """Made-up text; while there is a file beside the log that says so, as slowly as it says."""
    slow, deadly = (Path(os.environ[LOG_VARIABLE]).with_name(name) for name in ("slow", "deadly"))
    if deadly.exists() and deadly.read_text() == f"{picture[0, 0, 0]}":
        log("killed")
        os.kill(os.getpid(), 9)
    if slow.exists():
        time.sleep(float(slow.read_text()))
    log(f"picture {picture[0, 0, 0]}")
    log("frame")
    return made_up_text(picture)


def log(line: str) -> None:
    """Adds a line to the file that the test reads."""
    with Path(os.environ[LOG_VARIABLE]).open("a") as file:
        file.write(f"{os.getpid()} {line}\n")
