"""A loaded detector with the memory it was granted and the thread that owns it."""

import dataclasses
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from ocr_assets.gpu import host
from ocr_assets.gpu.admission import LeaseRefusedError
from ocr_assets.gpu.faults import OutOfDeviceMemoryError, as_device_error
from ocr_assets.gpu.footprint import (
    CONTEXT_AT_LEAST_BYTES,
    CONTEXT_BYTES,
    Footprint,
)
from ocr_assets.gpu.nvml import NvmlUnavailableError
from ocr_assets.gpu.placement import CPU, Placed, threads_per_cpu_reader
from ocr_assets.gpu.sizes import MIB, gib
from ocr_assets.ocr.canvas import Picture
from ocr_assets.ocr.detector import Detector, Found, LoadDetector, ModelSettings
from ocr_assets.ocr.thresholds import DetectionThresholds

GROWTH = 1.5  # of a lease that turned out too small
CORES_CHECKED_SECONDS = 5.0
LEAST_GROWTH_BYTES = 64 * MIB
LEAST_MEASURED_PIXELS = 100_000  # what smaller batches take is mostly not theirs


class LeaseTooSmallError(Exception):
    """Not even one frame fits into the lease, and it cannot be made larger now."""


@dataclass
class Tally:
    """What happened to a step's frames; every number can be shown.

    Attributes:
        frames: Frames per device.
        gpu_preferred: Whether the work may go to GPUs and one was there when it began.
        out_of_memory: How often a device ran out of memory.
        halvings: How often a batch was halved for that.
        moves: How often the work changed its device.
        waits: How often it waited for room.
        wait_seconds: How long in all.
        peak_bytes: The most that PyTorch took from a GPU.
        lease_bytes: The largest lease on a GPU.
    """

    frames: Counter[str] = field(default_factory=Counter)
    gpu_preferred: bool = False
    out_of_memory: int = 0
    halvings: int = 0
    moves: int = 0
    waits: int = 0
    wait_seconds: float = 0.0
    peak_bytes: int = 0
    lease_bytes: int = 0

    @property
    def fallback_share(self) -> float:
        """Share of the frames that were detected on the CPU though a GPU was preferred."""
        on_cpu = self.frames[CPU] if self.gpu_preferred else 0
        return on_cpu / max(self.frames.total(), 1)

    def copy(self) -> Self:
        """As it is now."""
        return dataclasses.replace(self, frames=Counter(self.frames))

    def since(self, before: "Tally") -> "Tally":
        """What has happened since an earlier copy; the sizes are the largest ever."""
        # Below 0 where a frame went to another device after it was counted.
        frames = {device: self.frames[device] - before.frames[device] for device in self.frames}
        return Tally(
            Counter(frames),
            self.gpu_preferred,
            self.out_of_memory - before.out_of_memory,
            self.halvings - before.halvings,
            self.moves - before.moves,
            self.waits - before.waits,
            self.wait_seconds - before.wait_seconds,
            self.peak_bytes,
            self.lease_bytes,
        )

    def add(self, other: "Tally") -> None:
        """Counts what has happened to other frames as well."""
        self.frames.update(other.frames)
        self.gpu_preferred |= other.gpu_preferred
        self.out_of_memory += other.out_of_memory
        self.halvings += other.halvings
        self.moves += other.moves
        self.waits += other.waits
        self.wait_seconds += other.wait_seconds
        self.peak_bytes = max(self.peak_bytes, other.peak_bytes)
        self.lease_bytes = max(self.lease_bytes, other.lease_bytes)

    def sentence(self) -> str:
        """For the log: `30 on cuda:0, 10 on cpu; moves between devices: 2; waits: 1, 12 s`."""
        parts = [", ".join(f"{count} on {device}" for device, count in self.frames.items())]
        if self.moves:
            parts.append(f"moves between devices: {self.moves}")
        if self.waits:
            parts.append(f"waits: {self.waits}, {self.wait_seconds:.0f} s")
        if self.out_of_memory:
            parts.append(f"out of memory: {self.out_of_memory}, halvings: {self.halvings}")
        if self.peak_bytes:
            parts.append(f"peak {gib(self.peak_bytes)}, lease {gib(self.lease_bytes)}")
        return "; ".join(filter(None, parts)) or "nothing detected"


@dataclass(frozen=True)
class Sizing:
    """How large a reader is.

    Attributes:
        max_batch_frames: Most frames at once on a GPU. On the CPU it is one for each of the
            reader's threads, as far as there is memory.
        fixed_bytes: The operator's own size of a reader on a GPU; None: the footprint's formula,
            corrected by measurement.
    """

    max_batch_frames: int = 4
    fixed_bytes: int | None = None

    def gpu_sizes_bytes(self, footprint: Footprint, pixels: int) -> list[int]:
        """Acceptable leases for frames of that many canvas pixels, the most wanted first."""
        if self.fixed_bytes is not None:
            return [self.fixed_bytes]
        batches = []
        batch = self.max_batch_frames
        while batch >= 1:
            batches.append(batch)
            batch //= 2
        return [footprint.bytes_for(pixels, batch) for batch in batches]


class Reader:
    """One model on one device. All its work is done by one thread; callers queue for it."""

    def __init__(
        self,
        settings: ModelSettings,
        sizing: Sizing,
        placed: Placed,
        footprint: Footprint,
        neighbours: Callable[[], Sequence["Reader"]],
    ) -> None:
        """See `ReaderPool`, which makes them.

        Args:
            settings: Which model.
            sizing: How large it may get.
            placed: Where it goes; the reader ends the lease.
            footprint: What it is expected to take.
            neighbours: All readers of this process on the device, this one included.
        """
        self.settings = settings
        self.placed = placed
        self.footprint = footprint
        self.users = 0
        self.frames_at_once = 1
        self.idle_until = 0.0
        self.retired = False
        self._sizing = sizing
        self._neighbours = neighbours
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"reader {placed.torch_device}")
        self._loading: Future[Detector] | None = None
        self._most_pixels: int | None = None
        self._learned_pixels = 0
        self._grown = False
        self._loaded_bytes = 0
        self._threads = 1
        self._threads_counted = float("-inf")

    @property
    def on_cpu(self) -> bool:
        """Whether it runs on the CPU."""
        return self.placed.device_id == CPU

    @property
    def device(self) -> str:
        """PyTorch's name of the device that the model was loaded onto."""
        return self._detector().device

    def load(self, load: LoadDetector) -> None:
        """Begins to load the model, in the reader's thread."""
        self._loading = self._thread.submit(self._load, load)

    def wait_until_loaded(self) -> None:
        """Returns when the model is there.

        Raises:
            OutOfDeviceMemoryError: The device ran out of memory.
            DeviceFaultError: CUDA is broken in this process.
            Exception: Whatever else the loader raised.
        """
        self._detector()

    def begin(
        self,
        pictures: Sequence[Picture],
        pixels: int,
        thresholds: DetectionThresholds,
        tally: Tally,
    ) -> list[Future[Found]]:
        """Begins with the first of the pictures: at least one, as many as the memory admits.

        When the device runs out of memory, the lease grows if there is room; else the batch is
        halved, and this reader does not try again what failed.

        Args:
            pictures: uint8, (height, width, 3), RGB, all of one size.
            pixels: Of one picture's canvas.
            thresholds: EasyOCR's parameters.
            tally: Where to count.

        Raises:
            LeaseTooSmallError: One picture is more than the lease covers.
            OutOfDeviceMemoryError: One picture is more than the device has memory for.
            DeviceError: PyTorch cannot use the device after all.
            DeviceFaultError: CUDA is broken in this process.
            DetectionError: The detector cannot process one of the pictures.
        """
        return self._thread.submit(self._begin, pictures, pixels, thresholds, tally).result()

    def halve(self, frames_at_once: int, pixels: int, tally: Tally) -> bool:
        """After a frame ran out of memory while it was under way: fewer at once from now on.

        Args:
            frames_at_once: With how many it was under way, itself included.
            pixels: Of its canvas.
            tally: Where to count.

        Returns:
            Whether that is worth another try: not if it was alone.
        """
        if frames_at_once == 1:
            return False
        most_pixels = frames_at_once // 2 * pixels
        if self._most_pixels is None or most_pixels < self._most_pixels:
            self._most_pixels = most_pixels
            tally.halvings += 1
        return True

    def close(self) -> None:
        """Drops the model, then ends the lease."""
        try:
            self._thread.submit(self._drop).result()
        finally:
            self._thread.shutdown()

    def _load(self, load: LoadDetector) -> Detector:
        with _device_errors():
            for other in self._others():
                other.share_device()  # there is one lease more to take memory under
            detector = load(self.settings, self.placed.torch_device, self.placed.device_id)
            self._loaded_bytes = detector.memory().reserved_bytes + CONTEXT_BYTES
            self._divide(detector)
        return detector

    def _drop(self) -> None:
        others = self._others()
        with _device_errors():
            try:
                if self._loading is not None and self._loading.exception() is None:
                    detector = self._loading.result()
                    if not others and not self.on_cpu:
                        detector.cap_memory(1.0)  # whoever comes next has a lease of its own
                    detector.close()
            finally:
                self._loading = None
                self.placed.lease.release()
            for other in others:
                other.share_device()

    def share_device(self) -> None:
        """Adapts to readers of this process that came to the device or left it."""
        loading = self._loading
        if loading is not None and loading.done() and loading.exception() is None:
            self._divide(loading.result())

    def _others(self) -> list["Reader"]:
        return [one for one in self._neighbours() if one is not self]

    def _detector(self) -> Detector:
        assert self._loading is not None, "the reader is closed"
        return self._loading.result()

    def _begin(
        self,
        pictures: Sequence[Picture],
        pixels: int,
        thresholds: DetectionThresholds,
        tally: Tally,
    ) -> list[Future[Found]]:
        detector = self._detector()
        if self.on_cpu:
            self.frames_at_once = self._share_cores(detector, pixels)
            batch = min(len(pictures), self.frames_at_once)
        else:
            wanted = min(len(pictures), self._sizing.max_batch_frames)
            batch = self._admitted_batch(detector, pixels, wanted)
        while True:
            try:
                with _device_errors():
                    if self._is_news(batch * pixels):
                        detector.forget_peak()
                    found = detector.detect_batch(pictures[:batch], thresholds)
            except OutOfDeviceMemoryError:
                tally.out_of_memory += 1
                with _device_errors():
                    detector.empty_cache()
                if self.on_cpu or not self._grow_further(detector):
                    if batch == 1:
                        raise
                    batch //= 2
                    self._most_pixels = batch * pixels
                    tally.halvings += 1
            else:
                if not self.on_cpu:
                    self.frames_at_once = batch
                self._learn(detector, batch * pixels, pixels, tally)
                return found

    @property
    def _lease_bytes(self) -> int:
        return self.placed.lease.size_bytes

    def _admitted_batch(self, detector: Detector, pixels: int, wanted: int) -> int:
        """How many frames go at once: no more than the lease covers, made larger if need be."""
        wanted = self._bounded(wanted, pixels)
        if self._sizing.fixed_bytes is not None and not self.on_cpu:
            return wanted  # the operator knows better than the formula
        covered = self.footprint.batch_for(self._lease_bytes, pixels)
        if covered < wanted and self._grow(detector, self.footprint.bytes_for(pixels, wanted)):
            return wanted
        if covered == 0 and not self._grow(detector, self.footprint.bytes_for(pixels, 1)):
            raise LeaseTooSmallError(
                f"{gib(self.footprint.bytes_for(pixels, 1))} needed for a frame of {pixels} "
                f"pixels, {gib(self._lease_bytes)} leased on {self.placed.label}, and no more to "
                "be had"
            )
        return min(max(covered, 1), wanted)

    def _bounded(self, batch: int, pixels: int) -> int:
        """No more than what was left after a batch had to be halved, but one frame at least."""
        if self._most_pixels is None:
            return batch
        return max(min(batch, self._most_pixels // pixels), 1)

    def _grow(self, detector: Detector, size_bytes: int) -> bool:
        """Makes the lease larger, if the operator lets it and there is room."""
        if self._sizing.fixed_bytes is not None and not self.on_cpu:
            return False
        try:
            self.placed.lease.resize(size_bytes, self.placed.limits)
        except (LeaseRefusedError, NvmlUnavailableError):
            return False
        self._divide(detector)
        return True

    def _grow_further(self, detector: Detector) -> bool:
        """After running out of memory: by half, or by what there is."""
        self._grown = True
        if self._grow(detector, int(self._lease_bytes * GROWTH)):
            return True
        try:
            room_bytes = self.placed.ledger.room_bytes(
                dataclasses.replace(self.placed.limits, max_leases=None)
            )
        except NvmlUnavailableError:
            return False
        return room_bytes >= LEAST_GROWTH_BYTES and self._grow(
            detector, self._lease_bytes + room_bytes
        )

    def _is_news(self, batch_pixels: int) -> bool:
        """Whether a batch says more of the reader's size than those before it."""
        return not self.on_cpu and (batch_pixels > self._learned_pixels or self._grown)

    def _learn(self, detector: Detector, batch_pixels: int, pixels: int, tally: Tally) -> None:
        """Fits footprint and lease to what the largest batch yet really took, on a GPU."""
        if self.on_cpu:
            return
        memory = detector.memory()
        tally.peak_bytes = max(tally.peak_bytes, memory.peak_bytes)
        if self._is_news(batch_pixels):
            self._grown = False
            self._learned_pixels = max(batch_pixels, self._learned_pixels)
            # With two models in the process nobody knows whose peak it is.
            alone = not self._others()
            if alone and batch_pixels >= LEAST_MEASURED_PIXELS and self._sizing.fixed_bytes is None:
                self._correct_footprint(memory.peak_bytes + CONTEXT_BYTES, batch_pixels)
                self._fit_lease(pixels)
            self._divide(detector)
        tally.lease_bytes = max(tally.lease_bytes, self._lease_bytes)

    def _correct_footprint(self, peak_bytes: int, batch_pixels: int) -> None:
        corrected = self.footprint.corrected(self._loaded_bytes, peak_bytes, batch_pixels)
        # The lease was enough, whatever the margin makes of it: without this, a frame that was
        # just detected could turn out to fit nowhere.
        most = (self._lease_bytes - self._loaded_bytes) / batch_pixels
        enough = self._lease_bytes >= peak_bytes and most > 0
        if enough and corrected.bytes_for(batch_pixels) > self._lease_bytes:
            corrected = dataclasses.replace(
                corrected, fixed_bytes=self._loaded_bytes, bytes_per_pixel=most
            )
        self.footprint = corrected

    def _fit_lease(self, pixels: int) -> None:
        batch = self._bounded(self._sizing.max_batch_frames, pixels)
        size_bytes = max(
            self.footprint.bytes_for(pixels, batch), self.footprint.bytes_for(self._learned_pixels)
        )
        try:
            self.placed.lease.resize(size_bytes, self.placed.limits)
        except (LeaseRefusedError, NvmlUnavailableError):
            return  # the batches stay as small as the lease is

    def _divide(self, detector: Detector) -> None:
        """Keeps the process to its leases on the device, and tells others what is allocated.

        The allocator is the process's: all its readers' leases together are its cap, which leaves
        out the CUDA context, and what it took counts for each by the share of its lease.
        """
        neighbours = self._neighbours()
        leased = sum(one.placed.lease.size_bytes for one in neighbours)
        if self.on_cpu:
            taken = host.process_memory_bytes()
        else:
            detector.cap_memory(max(leased - CONTEXT_BYTES, 0) / self.placed.total_bytes)
            taken = detector.memory().reserved_bytes + CONTEXT_AT_LEAST_BYTES
        for one in neighbours:
            share = one.placed.lease.size_bytes / leased
            one.placed.lease.report_allocated(int(taken * share))

    def _share_cores(self, detector: Detector, pixels: int) -> int:
        """Takes an equal share of the cores, as readers on the CPU come and go.

        Returns:
            How many frames are worked on at once: one a core, as far as the memory admits.
        """
        if time.monotonic() - self._threads_counted > CORES_CHECKED_SECONDS:
            self._threads = threads_per_cpu_reader(self.placed.ledger)
            self._threads_counted = time.monotonic()
        batch = self._admitted_batch(detector, pixels, self._threads)
        detector.use_threads(self._threads, batch)
        return batch


@contextmanager
def _device_errors() -> Iterator[None]:
    """Turns what PyTorch raises about a device into an error of ours."""
    try:
        yield
    except Exception as error:
        device_error = as_device_error(error)
        if device_error is None:
            raise
        # Or the tensors of the calls that failed would stay for as long as the error is looked at.
        traceback.clear_frames(error.__traceback__)
        raise device_error from error
