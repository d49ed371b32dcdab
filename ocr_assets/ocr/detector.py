"""EasyOCR's detector behind one method: a picture in, text boxes out.

```python
detector = shared_detector(ModelSettings())
boxes = detector.detect(rgb, DetectionThresholds())
```
"""

import dataclasses
import threading
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ocr_assets.ocr.boxes import TextBox, quad_box, rect_box
from ocr_assets.ocr.weights import locate_weights

DevicePolicy = Literal["auto", "cpu", "cuda"]


class DetectionError(Exception):
    """A picture that the detector cannot process."""


class DeviceError(Exception):
    """The device asked for is not there."""


@dataclass(frozen=True)
class ModelSettings:
    """What decides which model is loaded, and where.

    Attributes:
        languages: EasyOCR's language codes; they matter to reading, not to detection.
        recognize: Whether text is read too.
        weights_directory: Where the weights are; None looks in the usual places.
        download_enabled: Whether missing weights may be downloaded.
        device: `cpu`, `cuda`, or `auto`: CUDA if PyTorch sees a device, else the CPU.
    """

    languages: tuple[str, ...] = ("en",)
    recognize: bool = False
    weights_directory: str | None = None
    download_enabled: bool = False
    device: DevicePolicy = "auto"


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


class TextDetector:
    """One loaded EasyOCR reader on one device.

    EasyOCR is not thread-safe, so calls from several threads take turns.
    """

    def __init__(self, settings: ModelSettings) -> None:
        """Loads the model.

        Raises:
            WeightsError: The weights are missing or not the published ones.
            DeviceError: `cuda` was asked for and there is none.
            ValueError: EasyOCR does not know a language, or cannot combine them.
        """
        self.device = choose_device(settings.device)
        self._recognize = settings.recognize
        self._reader = _load_reader(settings, self.device)
        self._turn = threading.Lock()

    def detect(self, rgb: NDArray[np.uint8], thresholds: DetectionThresholds) -> list[TextBox]:
        """The text on a picture: upright boxes first, then slanted ones.

        Args:
            rgb: uint8, (height, width, 3), RGB.
            thresholds: EasyOCR's parameters.

        Raises:
            DetectionError: The picture is such that the detector cannot process it.
        """
        try:
            with self._turn:
                rects, quads = self._reader.detect(rgb, **dataclasses.asdict(thresholds))
                boxes = [rect_box(*(int(side) for side in rect)) for rect in rects[0]]
                boxes += [quad_box(quad) for quad in quads[0]]
                return [self._read(rgb, box) for box in boxes] if self._recognize else boxes
        except cv2.error as error:
            height, width = rgb.shape[:2]
            raise DetectionError(f"EasyOCR fails on {width}x{height} pixels: {error}") from error

    def _read(self, rgb: NDArray[np.uint8], box: TextBox) -> TextBox:
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


def choose_device(policy: DevicePolicy) -> str:
    """The torch device for a policy: `cpu` or `cuda:0`.

    Raises:
        DeviceError: `cuda` was asked for and PyTorch sees none.
    """
    import torch

    available = policy != "cpu" and torch.cuda.is_available()
    if policy == "cuda" and not available:
        raise DeviceError(
            "device is `cuda`, but PyTorch sees no CUDA device; check the driver and "
            "CUDA_VISIBLE_DEVICES, or set device to `auto` or `cpu`"
        )
    return "cuda:0" if available else "cpu"


_loading = threading.Lock()
_detectors: dict[ModelSettings, TextDetector] = {}


def shared_detector(settings: ModelSettings) -> TextDetector:
    """The process's one detector for these settings, loaded at the first call.

    Every step, partition and thread of a process shares it. Raises as `TextDetector` does.
    """
    # `auto` and the device it comes to are one model, not two.
    device: DevicePolicy = "cpu" if choose_device(settings.device) == "cpu" else "cuda"
    settings = dataclasses.replace(settings, device=device)
    with _loading:
        if settings not in _detectors:
            _detectors[settings] = TextDetector(settings)
        return _detectors[settings]


def _load_reader(settings: ModelSettings, device: str) -> Any:
    directory = locate_weights(
        settings.weights_directory,
        download_enabled=settings.download_enabled,
        recognize=settings.recognize,
        english_only=settings.languages == ("en",),
    )

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
