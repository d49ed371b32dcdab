"""EasyOCR's detection on one device: pictures in, text boxes out.

```python
detector = TextDetector(ModelSettings())
boxes = detector.detect(rgb, DetectionThresholds())
```

It takes what memory it likes: for work that shares a machine, use a `DetectionSession`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import os
import pickle
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ocr_assets.gpu import host
from ocr_assets.gpu.faults import DeviceError
from ocr_assets.ocr.boxes import TextBox
from ocr_assets.ocr.canvas import Picture, PictureSizeError, fill_canvases
from ocr_assets.ocr.craft import Craft, NumberFormat, read_weights
from ocr_assets.ocr.detector import (
    AllocatorMemory,
    DetectionError,
    Found,
    ModelSettings,
    Precision,
)
from ocr_assets.ocr.extraction_processes import ExtractionProcesses
from ocr_assets.ocr.text_boxes import extract_boxes
from ocr_assets.ocr.text_regions import ScoreMap
from ocr_assets.ocr.thresholds import DetectionThresholds
from ocr_assets.ocr.weights import DETECTOR_FILE, WeightsError

if TYPE_CHECKING:
    from torch import Tensor

BF16_HARDWARE = ("amx_bf16", "avx512_bf16")
FP16_CAPABILITY = (7, 0)  # of CUDA devices, from Volta on
MOST_EXTRACTORS = 8  # threads, each with a process, that make boxes of a GPU's score maps
ONLY_TENSORS_VARIABLE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"

_environment_lock = threading.Lock()  # readers may be loaded by several threads


class TextDetector:
    """CRAFT, and EasyOCR's recogniser if asked for. One thread may call it."""

    def __init__(self, settings: ModelSettings, device: str = "cpu") -> None:
        """Loads the model.

        Args:
            settings: Which model.
            device: PyTorch's name of the device: `cpu`, `cuda:0`, ...

        Raises:
            WeightsError: The weights are missing or not the published ones.
            DeviceError: PyTorch sees no such device.
            ValueError: EasyOCR cannot read the languages that are to be read.
        """
        import torch

        if device != "cpu" and not torch.cuda.is_available():
            raise DeviceError(_why_no_cuda())
        self.device = device
        _usual_threads()  # before anybody changes it
        self._recogniser = _load_easyocr(settings, device) if settings.recognize else None
        self._network: Craft | None = _load_network(settings, device)
        self._threads_per_frame = _usual_threads()
        self._frames_at_once = 1
        self._workers = _executor(
            1 if device == "cpu" else min(host.usable_cores(), MOST_EXTRACTORS)
        )
        self._extraction = None if device == "cpu" else ExtractionProcesses()

    def detect(self, rgb: Picture, thresholds: DetectionThresholds) -> list[TextBox]:
        """The text on a picture: upright boxes first, then slanted ones.

        Args:
            rgb: uint8, (height, width, 3), RGB.
            thresholds: EasyOCR's parameters.

        Raises:
            DetectionError: The picture is such that the detector cannot process it.
        """
        (found,) = self.detect_batch([rgb], thresholds)
        return found.result().boxes

    def detect_batch(
        self, pictures: Sequence[Picture], thresholds: DetectionThresholds
    ) -> list[Future[Found]]:
        """Begins to look for the text on each of several pictures of one size.

        On a GPU the pictures are one batch; on the CPU each is worked on by itself, several at the
        same time. With a recogniser, this returns when all is done.

        Args:
            pictures: uint8, (height, width, 3), RGB, all of the same height and width.
            thresholds: EasyOCR's parameters.

        Raises:
            DetectionError: The pictures are such that the detector cannot process them.
        """
        canvases = self._canvases(pictures, thresholds)
        height, width = pictures[0].shape[:2]
        scale = thresholds.scale(width, height)
        begin = self._begin_on_cpu if self.device == "cpu" else self._begin_on_gpu
        pending = begin(canvases, scale, thresholds)
        if self._recogniser is None:
            return pending
        return [
            _done(_with_text(self._recogniser, rgb, found.result()))
            for rgb, found in zip(pictures, pending, strict=True)
        ]

    def score_maps(
        self, pictures: Sequence[Picture], thresholds: DetectionThresholds
    ) -> NDArray[np.float32]:
        """The network's text and link scores for several pictures of one size.

        Returns:
            float32, (n, 2, canvas height / 2, canvas width / 2).

        Raises:
            DetectionError: The pictures are such that the detector cannot process them.
        """
        assert self._network is not None, "the detector is closed"
        return _as_maps(self._network.score_maps(self._canvases(pictures, thresholds)).cpu())

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

    def use_threads(self, count: int, frames_at_once: int) -> None:
        """How many threads work on the CPU takes, at most as many as PyTorch would.

        Args:
            count: Threads in all.
            frames_at_once: On how many frames they work at the same time. As many as there are
                threads is fastest; each takes the memory of a frame.
        """
        count = min(count, _usual_threads())
        frames_at_once = min(frames_at_once, count)
        self._threads_per_frame = count // frames_at_once
        cv2.setNumThreads(self._threads_per_frame)
        if frames_at_once != self._frames_at_once:
            self._workers.shutdown()
            self._workers, self._frames_at_once = _executor(frames_at_once), frames_at_once

    def close(self) -> None:
        """Drops the model and gives its memory back, once what was begun is done."""
        self._workers.shutdown()
        if self._extraction is not None:
            self._extraction.close()
        self._network = self._recogniser = None
        gc.collect()  # EasyOCR's reader is part of a cycle
        self.empty_cache()

    def _canvases(self, pictures: Sequence[Picture], thresholds: DetectionThresholds) -> Tensor:
        import torch

        height, width = pictures[0].shape[:2]
        # Pinned memory is what a GPU can fetch by itself, while the CPU goes on.
        canvases = torch.empty(
            (len(pictures), *thresholds.canvas_shape(width, height), 3),
            dtype=torch.uint8,
            pin_memory=self.device != "cpu",
        )
        try:
            fill_canvases(canvases.numpy(), pictures, thresholds)
        except PictureSizeError as error:
            raise DetectionError(str(error)) from error
        return canvases

    def _extract(
        self, text: ScoreMap, link: ScoreMap, scale: float, thresholds: DetectionThresholds
    ) -> list[TextBox]:
        if self._extraction is not None:
            return self._extraction.extract(text, link, scale, thresholds)
        return extract_boxes(text, link, scale, thresholds)

    def _begin_on_cpu(
        self, canvases: Tensor, scale: float, thresholds: DetectionThresholds
    ) -> list[Future[Found]]:
        network = self._network
        assert network is not None, "the detector is closed"

        def detect(canvas: Tensor) -> Found:
            import torch

            torch.set_num_threads(self._threads_per_frame)  # counts for the thread that says so
            started = time.perf_counter()
            ((text, link),) = _as_maps(network.score_maps(canvas[None]))
            milliseconds = 1000 * (time.perf_counter() - started)
            return Found(self._extract(text, link, scale, thresholds), milliseconds)

        return [self._workers.submit(detect, canvas) for canvas in canvases]

    def _begin_on_gpu(
        self, canvases: Tensor, scale: float, thresholds: DetectionThresholds
    ) -> list[Future[Found]]:
        """All is queued on the GPU; whoever makes the boxes waits for it, not this thread."""
        import torch

        assert self._network is not None, "the detector is closed"
        with torch.cuda.device(self.device):
            begun, ended = (
                # Blocking: whoever waits for it leaves its core to others.
                torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]
                for _ in range(2)
            )
            begun.record()
            maps = self._network.score_maps(canvases).permute(0, 3, 1, 2).contiguous()
            on_host = torch.empty(maps.shape, dtype=maps.dtype, pin_memory=True)
            on_host.copy_(maps, non_blocking=True)
            ended.record()

        def extract(index: int) -> Found:
            with torch.cuda.device(self.device):  # or the thread might begin to use another one
                ended.synchronize()
            text, link = on_host[index].numpy()
            milliseconds = begun.elapsed_time(ended) / len(canvases)
            return Found(self._extract(text, link, scale, thresholds), milliseconds)

        return [self._workers.submit(extract, index) for index in range(len(canvases))]


def number_format(precision: Precision, device: str) -> NumberFormat:
    """What the network computes in on a device, as far as the hardware has a say in it."""
    import torch

    if precision in ("bf16", "fp16"):
        return precision
    if precision == "exact":
        return "fp32"
    if device == "cpu":
        # Not in every PyTorch that will do; without it nothing is known, and fp32 is right. So it
        # is where PyTorch lacks the library that makes use of the hardware.
        if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            return "fp32"
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return "bf16" if any(capabilities.get(name) for name in BF16_HARDWARE) else "fp32"
    # As fast as bf16 on a GPU, and eight times as exact; no number in the network exceeds 30.
    return "fp16" if torch.cuda.get_device_capability(device) >= FP16_CAPABILITY else "fp32"


def load_text_detector(settings: ModelSettings, device: str, uuid: str) -> TextDetector:
    """Loads the model onto a device that was chosen by its UUID.

    PyTorch counts GPUs in an order of its own (fastest first, unless CUDA_DEVICE_ORDER says
    otherwise), so its own list of UUIDs decides which index is meant.

    Raises:
        DeviceError: PyTorch does not see the device.
        WeightsError: The weights are missing or not the published ones.
        ValueError: EasyOCR cannot read the languages that are to be read.
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


def _with_text(easyocr: Any, rgb: Picture, found: Found) -> Found:
    started = time.perf_counter()
    boxes = [_read(easyocr, rgb, box) for box in found.boxes]
    reading = 1000 * (time.perf_counter() - started)
    return Found(boxes, found.milliseconds + reading)


def _read(easyocr: Any, rgb: Picture, box: TextBox) -> TextBox:
    (x_min, y_min), _, (x_max, y_max), _ = box.points
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    rects = [[int(x_min), int(x_max), int(y_min), int(y_max)]] if box.kind == "rect" else []
    quads = [[list(point) for point in box.points]] if box.kind == "quad" else []
    with warnings.catch_warnings():
        # EasyOCR asks for pinned memory on every device; on the CPU PyTorch says it has none.
        warnings.filterwarnings("ignore", message="'pin_memory' argument", category=UserWarning)
        results: list[tuple[Any, str, Any]] = easyocr.recognize(grey, rects, quads)
    if not results:
        return box  # what is left of it inside the frame has no pixels
    _, text, confidence = results[0]
    return dataclasses.replace(box, text=text, confidence=float(confidence))


def _executor(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="detector")


def _done(found: Found) -> Future[Found]:
    future: Future[Found] = Future()
    future.set_result(found)
    return future


def _as_maps(scores: Tensor) -> NDArray[np.float32]:
    maps: NDArray[np.float32] = scores.permute(0, 3, 1, 2).contiguous().numpy()
    return maps


def _load_network(settings: ModelSettings, device: str) -> Craft:
    weights = read_weights(settings.fetch_weights() / DETECTOR_FILE)
    return Craft(weights, device, number_format(settings.precision, device))


def _load_easyocr(settings: ModelSettings, device: str) -> Any:
    """EasyOCR's reader without its detector."""
    directory = settings.fetch_weights()

    import easyocr
    import torch

    try:
        with _only_tensors_unpickled():
            reader = easyocr.Reader(
                list(settings.languages),
                gpu=False if device == "cpu" else device,
                model_storage_directory=str(directory),
                # Else EasyOCR makes a folder in the home directory.
                user_network_directory=str(directory),
                download_enabled=settings.download_enabled,
                detector=False,
                recognizer=True,
                verbose=False,
            )
    except (OSError, AssertionError, pickle.UnpicklingError) as error:
        why = str(error).partition("\n")[0]  # torch goes on to advise what is not safe
        raise WeightsError(
            f"EasyOCR's recogniser of {', '.join(settings.languages)} cannot be loaded from "
            f"{directory}: {why}; put the published file there, or set download_enabled"
        ) from error
    # On CUDA EasyOCR wraps its networks to run on every visible GPU at once; one is what was asked.
    if isinstance(reader.recognizer, torch.nn.DataParallel):
        reader.recognizer = reader.recognizer.module
    return reader


@contextlib.contextmanager
def _only_tensors_unpickled() -> Iterator[None]:
    """Within, `torch.load` runs no code from a file, though EasyOCR lets it (`weights_only=False`).

    It is for the whole process, which for a moment is safer than it need be.
    """
    with _environment_lock:
        before = os.environ.get(ONLY_TENSORS_VARIABLE)
        os.environ[ONLY_TENSORS_VARIABLE] = "1"
        try:
            yield
        finally:
            if before is None:
                del os.environ[ONLY_TENSORS_VARIABLE]
            else:
                os.environ[ONLY_TENSORS_VARIABLE] = before
