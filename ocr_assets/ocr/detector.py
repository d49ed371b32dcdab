"""EasyOCR's detector behind one method: pictures in, text boxes out.

```python
detector = TextDetector(ModelSettings())
boxes = detector.detect(rgb, DetectionThresholds())
```

It is not thread-safe, and takes what memory it likes: for work that shares a machine, use a
`DetectionSession`.
"""

import dataclasses
import functools
import gc
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ocr_assets.gpu.faults import DeviceError
from ocr_assets.gpu.footprint import canvas_pixels
from ocr_assets.ocr.boxes import TextBox, quad_box, rect_box
from ocr_assets.ocr.weights import locate_weights

Picture = NDArray[np.uint8]


class DetectionError(Exception):
    """A picture that the detector cannot process."""


@dataclass(frozen=True)
class AllocatorMemory:
    """What PyTorch's allocator took from a GPU for this process, in bytes; its peak, too."""

    reserved_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class ModelSettings:
    """What decides which model is loaded.

    Attributes:
        languages: EasyOCR's language codes; they matter to reading, not to detection.
        recognize: Whether text is read too.
        weights_directory: Where the weights are; None looks in the usual places.
        download_enabled: Whether missing weights may be downloaded.
    """

    languages: tuple[str, ...] = ("en",)
    recognize: bool = False
    weights_directory: str | None = None
    download_enabled: bool = False

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


@dataclass(frozen=True)
class DetectionThresholds:
    """EasyOCR's detection parameters, with its defaults, by its names.

    Attributes:
        min_size: Boxes with both sides at most this many pixels are dropped.
        text_threshold: Least text score of a piece of text's strongest pixel, in [0, 1].
        low_text: Least text score of its other pixels, in [0, 1].
        link_threshold: Least link score that joins letters, in [0, 1].
        canvas_size: Frames whose longer side has more pixels are scaled down to it.
        mag_ratio: Scale applied to a frame before detection, up to canvas_size.
        slope_ths: Steepest slope of a box that counts as upright.
        ycenter_ths: Most vertical distance of boxes joined to a line, in box heights.
        height_ths: Most difference in height of boxes joined, in box heights.
        width_ths: Most horizontal distance of boxes joined, in box heights.
        add_margin: Margin added around each box, in box heights.
    """

    min_size: int = 20
    text_threshold: float = 0.7
    low_text: float = 0.4
    link_threshold: float = 0.4
    canvas_size: int = 2560
    mag_ratio: float = 1.0
    slope_ths: float = 0.1
    ycenter_ths: float = 0.5
    height_ths: float = 0.5
    width_ths: float = 0.5
    add_margin: float = 0.1

    def canvas_pixels(self, width: int, height: int) -> int:
        """Pixels that the network sees of a frame of that size in pixels."""
        return canvas_pixels(width, height, canvas_size=self.canvas_size, mag_ratio=self.mag_ratio)


class Detector(Protocol):
    """What a reader needs of a loaded model; `TextDetector` is the real one.

    Attributes:
        device: PyTorch's name of the device.
    """

    device: str

    def detect_batch(
        self, pictures: Sequence[Picture], thresholds: DetectionThresholds
    ) -> list[list[TextBox]]:
        """The text on each of several pictures of one size."""

    def memory(self) -> AllocatorMemory:
        """What the process has taken from the device."""

    def forget_peak(self) -> None:
        """From now on the peak is that of what follows."""

    def cap_memory(self, fraction: float) -> None:
        """Makes the allocator refuse more than this share of the device's memory."""

    def empty_cache(self) -> None:
        """Gives back what the allocator keeps for later."""

    def use_threads(self, count: int) -> None:
        """How many threads work on the CPU takes; for the thread that calls it."""

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


class TextDetector:
    """One loaded EasyOCR reader on one device. Not thread-safe."""

    def __init__(self, settings: ModelSettings, device: str = "cpu") -> None:
        """Loads the model.

        Args:
            settings: Which model.
            device: PyTorch's name of the device: `cpu`, `cuda:0`, ...

        Raises:
            WeightsError: The weights are missing or not the published ones.
            DeviceError: PyTorch sees no such device.
            ValueError: EasyOCR does not know a language, or cannot combine them.
        """
        import torch

        if device != "cpu" and not torch.cuda.is_available():
            raise DeviceError(_why_no_cuda())
        self.device = device
        self._recognize = settings.recognize
        _usual_threads()  # before anybody changes it
        self._reader = _load_reader(settings, device)

    def detect(self, rgb: Picture, thresholds: DetectionThresholds) -> list[TextBox]:
        """The text on a picture: upright boxes first, then slanted ones.

        Args:
            rgb: uint8, (height, width, 3), RGB.
            thresholds: EasyOCR's parameters.

        Raises:
            DetectionError: The picture is such that the detector cannot process it.
        """
        return self.detect_batch([rgb], thresholds)[0]

    def detect_batch(
        self, pictures: Sequence[Picture], thresholds: DetectionThresholds
    ) -> list[list[TextBox]]:
        """The text on each of several pictures of one size.

        Args:
            pictures: uint8, (height, width, 3), RGB, all of the same height and width.
            thresholds: EasyOCR's parameters.

        Raises:
            DetectionError: The pictures are such that the detector cannot process them.
        """
        try:
            rects, quads = self._reader.detect(
                np.stack(pictures), reformat=False, **dataclasses.asdict(thresholds)
            )
            found = [
                [
                    *(rect_box(*(int(side) for side in rect)) for rect in picture_rects),
                    *(quad_box(quad) for quad in picture_quads),
                ]
                for picture_rects, picture_quads in zip(rects, quads, strict=True)
            ]
            if not self._recognize:
                return found
            return [
                [self._read(rgb, box) for box in boxes]
                for rgb, boxes in zip(pictures, found, strict=True)
            ]
        except cv2.error as error:
            height, width = pictures[0].shape[:2]
            raise DetectionError(f"EasyOCR fails on {width}x{height} pixels: {error}") from error

    def memory(self) -> AllocatorMemory:
        """What PyTorch has taken from the GPU for this process; nothing on the CPU."""
        import torch

        if self.device == "cpu":
            return AllocatorMemory(0, 0)
        return AllocatorMemory(
            torch.cuda.memory_reserved(self.device), torch.cuda.max_memory_reserved(self.device)
        )

    def forget_peak(self) -> None:
        """From now on the peak is that of what follows; nothing on the CPU."""
        import torch

        if self.device != "cpu":
            torch.cuda.reset_peak_memory_stats(self.device)

    def cap_memory(self, fraction: float) -> None:
        """Makes PyTorch refuse to take more than this share of the GPU; nothing on the CPU."""
        import torch

        if self.device != "cpu":
            torch.cuda.set_per_process_memory_fraction(min(fraction, 1.0), self.device)

    def empty_cache(self) -> None:
        """Gives back to the GPU what PyTorch keeps for later."""
        import torch

        if self.device != "cpu":
            torch.cuda.empty_cache()

    def use_threads(self, count: int) -> None:
        """How many threads PyTorch and OpenCV use, at most as many as PyTorch would.

        For PyTorch this counts in the thread that calls it.
        """
        import torch

        count = min(count, _usual_threads())
        torch.set_num_threads(count)
        cv2.setNumThreads(count)

    def close(self) -> None:
        """Drops the model and gives its memory back."""
        self._reader = None
        gc.collect()  # EasyOCR's reader is part of a cycle
        self.empty_cache()

    def _read(self, rgb: Picture, box: TextBox) -> TextBox:
        (x_min, y_min), _, (x_max, y_max), _ = box.points
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        rects = [[int(x_min), int(x_max), int(y_min), int(y_max)]] if box.kind == "rect" else []
        quads = [[list(point) for point in box.points]] if box.kind == "quad" else []
        with warnings.catch_warnings():
            # EasyOCR asks for pinned memory on every device; on the CPU PyTorch says it has none.
            warnings.filterwarnings("ignore", message="'pin_memory' argument", category=UserWarning)
            results: list[tuple[Any, str, Any]] = self._reader.recognize(grey, rects, quads)
        if not results:
            return box  # what is left of it inside the frame has no pixels
        _, text, confidence = results[0]
        return dataclasses.replace(box, text=text, confidence=float(confidence))


def load_text_detector(settings: ModelSettings, device: str, uuid: str) -> TextDetector:
    """Loads EasyOCR onto a device that was chosen by its UUID.

    PyTorch counts GPUs in an order of its own (fastest first, unless CUDA_DEVICE_ORDER says
    otherwise), so its own list of UUIDs decides which index is meant.

    Raises:
        DeviceError: PyTorch does not see the device.
        WeightsError: The weights are missing or not the published ones.
        ValueError: EasyOCR does not know a language, or cannot combine them.
    """
    import torch

    if device != "cpu":
        if not torch.cuda.is_available():
            raise DeviceError(_why_no_cuda())
        seen = [
            str(torch.cuda.get_device_properties(index).uuid)
            for index in range(torch.cuda.device_count())
        ]
        index = next((index for index, known in enumerate(seen) if uuid.endswith(known)), None)
        if index is None and not uuid.startswith("MIG-"):
            raise DeviceError(
                f"PyTorch sees {len(seen)} CUDA devices, but not {uuid}; set "
                "CUDA_DEVICE_ORDER=PCI_BUS_ID if CUDA_VISIBLE_DEVICES counts unequal GPUs"
            )
        # Of a MIG instance PyTorch may give the UUID of the whole GPU; it sees only the one.
        device = f"cuda:{index or 0}"
    return TextDetector(settings, device)


@functools.cache
def _usual_threads() -> int:
    """As many as PyTorch would use by itself; it respects OMP_NUM_THREADS and the like."""
    import torch

    return torch.get_num_threads()


def _why_no_cuda() -> str:
    import torch

    if torch.version.cuda is None:
        return f"PyTorch {torch.__version__} is built without CUDA; install a build that has it"
    return (
        "PyTorch sees no CUDA device; check the driver and CUDA_VISIBLE_DEVICES, or set device to "
        "`auto` or `cpu`"
    )


def _load_reader(settings: ModelSettings, device: str) -> Any:
    directory = settings.locate_weights()

    import easyocr
    import torch

    reader = easyocr.Reader(
        list(settings.languages),
        gpu=False if device == "cpu" else device,
        model_storage_directory=str(directory),
        user_network_directory=str(directory),  # else EasyOCR makes a folder in the home directory
        download_enabled=settings.download_enabled,
        recognizer=settings.recognize,
        verbose=False,
    )
    # On CUDA EasyOCR wraps its networks to run on every visible GPU at once; one is what was asked.
    for name in ("detector", "recognizer"):
        network = getattr(reader, name, None)
        if isinstance(network, torch.nn.DataParallel):
            setattr(reader, name, network.module)
    return reader
