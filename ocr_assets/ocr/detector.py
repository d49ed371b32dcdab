"""What the rest asks of a loaded detector; `text_detector.py` has the real one."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from ocr_assets.ocr.boxes import TextBox
from ocr_assets.ocr.canvas import Picture
from ocr_assets.ocr.thresholds import DetectionThresholds
from ocr_assets.ocr.weights import locate_weights, needed_files
from ocr_assets.ocr.weights_download import download_weights

Precision = Literal["auto", "exact", "bf16", "fp16"]


class DetectionError(Exception):
    """A picture that the detector cannot process."""


@dataclass(frozen=True)
class AllocatorMemory:
    """What PyTorch's allocator took from a GPU for this process, in bytes; its peak, too."""

    reserved_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class Found:
    """What a detector found on one picture.

    Attributes:
        boxes: The text boxes: upright ones first, then slanted ones.
        milliseconds: The picture's share of the time that the device worked on its batch.
    """

    boxes: list[TextBox]
    milliseconds: float


@dataclass(frozen=True)
class ModelSettings:
    """What decides which model is loaded.

    Attributes:
        languages: EasyOCR's language codes; they matter to reading, not to detection.
        recognize: Whether text is read too.
        weights_directory: Where the weights are; None looks in the usual places.
        download_enabled: Whether missing weights may be downloaded.
        precision: `exact`: fp32, score maps within 1e-5 of EasyOCR's. `auto`: fp16 on a GPU and on
            a CPU bf16, where the hardware has it, else as `exact`. `bf16` or `fp16` wherever it is,
            which can be slow.
    """

    languages: tuple[str, ...] = ("en",)
    recognize: bool = False
    weights_directory: str | None = None
    download_enabled: bool = False
    precision: Precision = "auto"

    @property
    def gpu_element_bytes(self) -> int:
        """Bytes of a number on a GPU; `auto` means 2 on all from 2017 on."""
        return 4 if self.precision == "exact" else 2

    def locate_weights(self) -> Path:
        """The folder to load the weights from.

        Raises:
            WeightsError: They are not there, or not the published ones.
        """
        return locate_weights(
            self.weights_directory,
            download_enabled=self.download_enabled,
            recognize=self.recognize,
            english_only=self.languages == ("en",),
        )

    def fetch_weights(self) -> Path:
        """The same folder, after what it lacks was downloaded, if that is enabled.

        A recogniser of other languages is left to EasyOCR, which downloads it when it loads it.

        Raises:
            WeightsError: They are not there and cannot be downloaded, or not the published ones.
        """
        directory = self.locate_weights()
        needed = needed_files(recognize=self.recognize, english_only=self.languages == ("en",))
        missing = [name for name in needed if not (directory / name).is_file()]
        for name in missing:
            download_weights(name, directory)
        return self.locate_weights() if missing else directory


class Detector(Protocol):
    """What a reader needs of a loaded model; `TextDetector` is the real one.

    Attributes:
        device: PyTorch's name of the device.
    """

    device: str

    def detect_batch(
        self, pictures: Sequence[Picture], thresholds: DetectionThresholds
    ) -> list[Future[Found]]:
        """Begins to look for the text on each of several pictures of one size.

        Raises:
            DetectionError: The pictures are such that the detector cannot process them.
        """

    def memory(self) -> AllocatorMemory:
        """What the process has taken from the device."""

    def forget_peak(self) -> None:
        """From now on the peak is that of what follows."""

    def cap_memory(self, fraction: float) -> None:
        """Makes the allocator refuse more than this share of the device's memory."""

    def empty_cache(self) -> None:
        """Gives back what the allocator keeps for later."""

    def use_threads(self, count: int, frames_at_once: int) -> None:
        """How many threads work on the CPU takes, and on how many frames at a time."""

    def close(self) -> None:
        """Gives back all memory."""


class LoadDetector(Protocol):
    """Loads a model onto a device."""

    def __call__(self, settings: ModelSettings, device: str, uuid: str) -> Detector:
        """Loads it.

        Args:
            settings: Which model.
            device: PyTorch's name of the device.
            uuid: NVML's of a GPU; `cpu` for the CPU.
        """
