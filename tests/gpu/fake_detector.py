"""A detector that takes memory from a fake GPU, as PyTorch would, and finds made-up text."""

import dataclasses
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

from ocr_assets.gpu.snapshot import read_memory
from ocr_assets.ocr.boxes import TextBox, rect_box
from ocr_assets.ocr.canvas import Picture
from ocr_assets.ocr.detector import AllocatorMemory, Detector, Found, ModelSettings
from ocr_assets.ocr.thresholds import DetectionThresholds
from tests.fake_nvml import Allocation, allocate

GIB = 1024**3
CONTEXT_BYTES = 300 * 1024**2  # of the fake CUDA, and part of what it takes at load


@dataclasses.dataclass(frozen=True)
class Appetite:
    """What a fake detector takes: at load, context included, and per pixel of a batch."""

    load_bytes: int = 380 * 1024**2
    pixel_bytes: int = 512
    load_seconds: float = 0.0
    batch_seconds: float = 0.0


class FakeDetector:
    """Allocates as PyTorch's caching allocator does: what a batch took stays until it is freed."""

    caps_bytes: ClassVar[dict[str, float]] = {}  # per GPU, of the whole process
    living: ClassVar["weakref.WeakSet[FakeDetector]"] = weakref.WeakSet()

    def __init__(
        self,
        state: Path,
        uuid: str,
        appetite: Appetite,
        find: Callable[[Picture], list[TextBox]],
        device: str = "cuda:0",
    ) -> None:
        self.device = device
        self.uuid = uuid
        self._appetite = appetite
        self._find = find
        self._peak_bytes = appetite.load_bytes
        self.threads: set[str] = set()
        self._allocation: Allocation = allocate(state, uuid, appetite.load_bytes)
        self.living.add(self)
        time.sleep(appetite.load_seconds)

    def detect_batch(
        self, pictures: Sequence[Picture], thresholds: DetectionThresholds
    ) -> list[Future[Found]]:
        self.threads.add(threading.current_thread().name)
        height, width = pictures[0].shape[:2]
        needed = self._appetite.load_bytes
        needed += len(pictures) * height * width * self._appetite.pixel_bytes
        if needed > self._allocation.size_bytes:
            self._refuse_above_cap(needed)
            self._allocation.resize(needed)
            self._peak_bytes = max(self._peak_bytes, needed)
        time.sleep(self._appetite.batch_seconds)
        return [done(self._find(picture)) for picture in pictures]

    def memory(self) -> AllocatorMemory:
        taken = (self._allocation.size_bytes, self._peak_bytes)
        return AllocatorMemory(*(max(size - CONTEXT_BYTES, 0) for size in taken))

    def forget_peak(self) -> None:
        self._peak_bytes = self._allocation.size_bytes

    def cap_memory(self, fraction: float) -> None:
        self.caps_bytes[self.uuid] = fraction * read_memory(self.uuid).total_bytes

    def empty_cache(self) -> None:
        self._allocation.resize(self._appetite.load_bytes)

    def use_threads(self, count: int, frames_at_once: int) -> None:
        raise AssertionError("a detector on a GPU is not told how many threads to use")

    def close(self) -> None:
        self._allocation.free()
        self.living.discard(self)

    def _refuse_above_cap(self, size_bytes: int) -> None:
        others = [one for one in self.living if one.uuid == self.uuid and one is not self]
        taken = size_bytes + sum(one._allocation.size_bytes for one in others) - CONTEXT_BYTES
        if taken > self.caps_bytes.get(self.uuid, float("inf")):
            import torch

            raise torch.OutOfMemoryError(
                f"CUDA out of memory: {size_bytes} bytes are more than the process is allowed"
            )


class CpuDetector:
    """The same on the CPU: no memory counted, the number of threads noted."""

    def __init__(
        self, find: Callable[[Picture], list[TextBox]], batch_seconds: float = 0.0
    ) -> None:
        self.device = "cpu"
        self.frames_at_once: list[int] = []
        self._worker = ThreadPoolExecutor(1)
        self._find = find
        self._batch_seconds = batch_seconds
        self.thread_counts: list[int] = []
        self.closed = False

    def detect_batch(
        self, pictures: Sequence[Picture], thresholds: DetectionThresholds
    ) -> list[Future[Found]]:
        if not self._batch_seconds:
            return [done(self._find(picture)) for picture in pictures]

        def find(picture: Picture) -> Found:
            time.sleep(self._batch_seconds)
            return Found(self._find(picture), 1.0)

        return [self._worker.submit(find, picture) for picture in pictures]

    def memory(self) -> AllocatorMemory:
        return AllocatorMemory(0, 0)

    def forget_peak(self) -> None:
        raise AssertionError("there is no peak on the CPU")

    def cap_memory(self, fraction: float) -> None:
        raise AssertionError("there is nothing to cap on the CPU")

    def empty_cache(self) -> None:
        """Nothing is cached."""

    def use_threads(self, count: int, frames_at_once: int) -> None:
        self.thread_counts.append(count)
        self.frames_at_once.append(frames_at_once)

    def close(self) -> None:
        self._worker.shutdown()
        self.closed = True


class FakeLoader:
    """Loads fake detectors and keeps them for the test to look at."""

    def __init__(
        self,
        state: Path,
        appetite: Appetite | None = None,
        *,
        find: Callable[[Picture], list[TextBox]] | None = None,
        cpu_batch_seconds: float = 0.0,
    ) -> None:
        self._state = state
        self.appetite = appetite or Appetite()
        self._find = find or made_up_text
        self._cpu_batch_seconds = cpu_batch_seconds
        self.loaded: list[Detector] = []

    def __call__(self, settings: ModelSettings, device: str, uuid: str) -> Detector:
        detector: Detector
        if device == "cpu":
            detector = CpuDetector(self._find, self._cpu_batch_seconds)
        else:
            detector = FakeDetector(self._state, uuid, self.appetite, self._find, device)
        self.loaded.append(detector)
        return detector


def made_up_text(picture: Picture) -> list[TextBox]:
    """One box as wide as the picture's first pixel is bright, so that results can be compared."""
    return [rect_box(0, int(picture[0, 0, 0]), 0, 10)]


def done(boxes: list[TextBox], milliseconds: float = 1.0) -> Future[Found]:
    future: Future[Found] = Future()
    future.set_result(Found(boxes, milliseconds))
    return future
