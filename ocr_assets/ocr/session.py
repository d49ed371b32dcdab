"""A step's way to the detector: frames in, boxes out, on whatever device has room meanwhile.

```python
with DetectionSession(shared_pool(), settings, Sizing(), policy, print) as session:
    pending = session.begin([rgb, rgb], DetectionThresholds())
    outcomes = [one.result() for one in pending]
```
"""

import functools
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ocr_assets.gpu.faults import (
    DeviceError,
    DeviceFaultError,
    OutOfDeviceMemoryError,
    as_device_error,
)
from ocr_assets.gpu.placement import NoRoomError, Placed, PlacementPolicy, waiting_for_room
from ocr_assets.gpu.sizes import gib
from ocr_assets.gpu.snapshot import take_snapshot
from ocr_assets.ocr.canvas import Picture
from ocr_assets.ocr.detector import DetectionError, Found, ModelSettings
from ocr_assets.ocr.outcome import Detected, Outcome, PendingOutcome, known
from ocr_assets.ocr.reader import LeaseTooSmallError, Reader, Sizing, Tally
from ocr_assets.ocr.reader_pool import ReaderNotLoadedError, ReaderPool
from ocr_assets.ocr.thresholds import DetectionThresholds

FIRST_MESSAGE_SECONDS, LAST_MESSAGE_SECONDS = 30.0, 600.0  # between messages on a wait
LONGEST_COOLDOWN_SECONDS = 600.0
ATTEMPTS = 3  # on each GPU, at a single frame that it has no memory for


@dataclass
class _Exclusion:
    """A GPU that ran out of memory under us, and until when we stay away."""

    reason: str
    until: float
    seconds: float


@dataclass(frozen=True, eq=False)
class _UnderWay:
    """A frame that a device has taken on, and what else was known of it then."""

    reader: Reader
    device: str
    frames_at_once: int
    rgb: Picture
    found: Future[Found]


class DetectionSession:
    """Detects text for one step, and counts what happened to the work.

    A context manager: leaving the block gives the reader back to the pool.

    Attributes:
        tally: The numbers so far.
    """

    def __init__(
        self,
        pool: ReaderPool,
        settings: ModelSettings,
        sizing: Sizing,
        policy: PlacementPolicy,
        say: Callable[[str], None],
        holder: str = "",
    ) -> None:
        """Nothing is loaded before there is a frame.

        Args:
            pool: The process's readers.
            settings: Which model.
            sizing: How large a reader is.
            policy: Where readers may go.
            say: Takes messages on moves and waits, for people to read.
            holder: What the work is, for people who ask who holds the memory.

        Raises:
            DeviceError: The policy asks for a GPU and this process sees none.
        """
        self.tally = Tally()
        self._pool = pool
        self._settings = settings
        self._sizing = sizing
        self._policy = policy
        self._say = say
        self._holder = holder
        self._reader: Reader | None = None
        self._left: tuple[Placed, str] | None = None
        self._failures: Counter[str] = Counter()
        self._excluded: dict[str, _Exclusion] = {}
        self._rechecked = float("-inf")
        self._overflow = ExitStack()
        if policy.device != "cpu":
            snapshot = take_snapshot()
            self.tally.gpu_preferred = bool(snapshot.usable)
            if policy.device == "cuda" and not snapshot.usable:
                raise DeviceError(
                    "device is `cuda`, but there is no GPU to use: "
                    f"{'; '.join(snapshot.problems) or 'NVML lists none'}. Mend that, or set "
                    "device to `auto` or `cpu`"
                )

    def __enter__(self) -> Self:
        """Nothing more."""
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Gives the reader back."""
        reader, self._reader = self._reader, None
        try:
            if reader is not None:
                self._pool.give_back(reader, idle_seconds=self._policy.idle_seconds)
        finally:
            self._overflow.close()

    def detect(self, pictures: Sequence[Picture], thresholds: DetectionThresholds) -> list[Outcome]:
        """Begins with the pictures and waits for the outcome of each, in order; see `begin`."""
        return [pending.result() for pending in self.begin(pictures, thresholds)]

    def begin(
        self, pictures: Sequence[Picture], thresholds: DetectionThresholds
    ) -> list[PendingOutcome]:
        """Begins to look for text; returns when a device has taken on every picture.

        Args:
            pictures: uint8, (height, width, 3), RGB, all of one size.
            thresholds: EasyOCR's parameters.

        Returns:
            For each picture, in order, its outcome to wait for.

        Raises:
            NoRoomError: There was no room for a reader, for as long as the policy waits, or there
                never will be.
            DeviceFaultError: CUDA is broken in this process; waiting for an outcome raises it, too.
            WeightsError: The weights are missing or not the published ones.
            StateError: The state directory cannot be used.
        """
        pending: list[PendingOutcome] = []
        try:
            while len(pending) < len(pictures):
                pending += self._begin_some(pictures[len(pending) :], thresholds)
        except BaseException:
            for one in pending:
                one.cancel()
            raise
        return pending

    def _begin_some(
        self, pictures: Sequence[Picture], thresholds: DetectionThresholds
    ) -> Sequence[PendingOutcome]:
        height, width = pictures[0].shape[:2]
        pixels = thresholds.canvas_pixels(width, height)
        reader = self._reader_for(pixels)
        try:
            begun = reader.begin(pictures, pixels, thresholds, self.tally)
        except DetectionError as error:
            if len(pictures) == 1:
                return [known(error)]
            # One of them; the others are not to suffer for it.
            return [pending for rgb in pictures for pending in self.begin([rgb], thresholds)]
        except LeaseTooSmallError as reason:
            self._leave(reader, str(reason))
            return []
        except OutOfDeviceMemoryError as error:
            self._failures[reader.placed.device_id] += 1
            tried_enough = self._failures[reader.placed.device_id] >= ATTEMPTS
            if reader.on_cpu or (tried_enough and not self._cpu_admitted()):
                self._failures.clear()
                return [known(_too_large(width, height, error))]
            self._exclude(reader.placed.device_id, reader.placed.label, error)
            self._leave(reader, f"out of memory with a single frame: {error}")
            return []
        except DeviceError as error:
            self._exclude(reader.placed.device_id, reader.placed.label, error)
            self._leave(reader, str(error))
            return []
        except DeviceFaultError as fault:
            self._give_up_cuda(reader, fault)
            raise
        self._failures.clear()
        self._excluded.pop(reader.placed.device_id, None)
        self.tally.frames[reader.device] += len(begun)
        return [
            PendingOutcome(functools.partial(self._outcome, one, thresholds), one.found)
            for one in (
                _UnderWay(reader, reader.device, reader.frames_at_once, rgb, found)
                for rgb, found in zip(pictures, begun, strict=False)  # as many as were begun
            )
        ]

    def _outcome(self, one: "_UnderWay", thresholds: DetectionThresholds) -> Outcome:
        """Waits for what a device was still doing when `begin` returned."""
        try:
            found = one.found.result()
        except DetectionError as error:
            return error
        except Exception as error:
            device_error = as_device_error(error)
            if isinstance(device_error, OutOfDeviceMemoryError):
                self.tally.out_of_memory += 1
                height, width = one.rgb.shape[:2]
                pixels = thresholds.canvas_pixels(width, height)
                if not one.reader.halve(one.frames_at_once, pixels, self.tally):
                    return _too_large(width, height, device_error)
                self.tally.frames[one.device] -= 1
                (again,) = self.begin([one.rgb], thresholds)
                return again.result()
            if isinstance(device_error, DeviceFaultError):
                self._give_up_cuda(one.reader, device_error)
            if device_error is None:
                raise
            raise device_error from error
        return Detected(found.boxes, one.device, found.milliseconds)

    def _give_up_cuda(self, reader: Reader, fault: DeviceFaultError) -> None:
        if self._reader is reader:
            self._reader = None
        self._pool.give_up_cuda(reader, fault)

    def _reader_for(self, pixels: int) -> Reader:
        if self._reader is None:
            reader = self._find_reader(pixels)
            self._arrived(reader, pixels)
            return reader
        if self._reader.on_cpu and self._policy.device == "auto":
            self._return_to_gpu(self._reader, pixels)
        return self._reader

    def _find_reader(self, pixels: int) -> Reader:
        """Tries the GPUs, then the CPU if the policy admits it, then waits and tries again."""
        started = time.monotonic()
        next_message, interval = started, FIRST_MESSAGE_SECONDS
        with ExitStack() as waiting:
            while True:
                tried = self._try_everywhere(pixels)
                if isinstance(tried, Reader):
                    self._reader = tried  # ours to give back, should telling the others fail
                    return tried
                waited = time.monotonic() - started
                self._refuse_to_wait(tried, waited)
                if next_message == started:
                    self.tally.waits += 1
                    waiting.enter_context(self._waiting(pixels, cpu=self._cpu_admitted()))
                    waiting.callback(self._count_wait, started)
                if time.monotonic() >= next_message:
                    next_message = time.monotonic() + interval
                    interval = min(2 * interval, LAST_MESSAGE_SECONDS)
                    limit = self._policy.wait_seconds
                    self._say(f"waiting for room ({waited:.0f} of {limit:.0f} s): {tried}")
                time.sleep(self._policy.poll_seconds * random.uniform(0.5, 1.5))

    def _try_everywhere(self, pixels: int) -> Reader | NoRoomError:
        refusals: list[NoRoomError] = []
        if self._policy.device != "cpu":
            try:
                return self._take_on_gpu(pixels)
            except NoRoomError as refusal:
                refusals.append(refusal)
        if self._cpu_admitted():
            try:
                return self._pool.take_on_cpu(
                    self._settings, self._sizing, self._policy, pixels, holder=self._holder
                )
            except NoRoomError as refusal:
                refusals.append(refusal)
        sentence = "; ".join(str(refusal) for refusal in refusals)
        return NoRoomError(sentence, never=all(refusal.never for refusal in refusals))

    def _take_on_gpu(self, pixels: int) -> Reader:
        """As the pool's, passing over GPUs on which a reader failed to load."""
        while True:
            try:
                return self._pool.take_on_gpu(
                    self._settings,
                    self._sizing,
                    self._policy,
                    pixels,
                    excluded=self._resting(),
                    unusable=self._unusable(),
                    holder=self._holder,
                )
            except ReaderNotLoadedError as error:
                cause = error.__cause__
                known = cause if isinstance(cause, DeviceError) else error
                self._exclude(error.device_id, error.label, known)

    def _cpu_admitted(self) -> bool:
        if self._policy.device != "auto":
            return self._policy.device == "cpu"
        if self._policy.overflow == "cpu":
            return True
        unusable = self._unusable()
        return all(gpu.uuid in unusable for gpu in take_snapshot().usable)

    def _refuse_to_wait(self, refusal: NoRoomError, waited: float) -> None:
        if refusal.never:
            raise NoRoomError(f"a reader fits nowhere: {refusal}", never=True)
        if self._policy.overflow == "fail" and not self._cpu_admitted():
            raise NoRoomError(
                f"no GPU has room, and when_gpu_full is `fail`: {refusal}", never=False
            )
        if waited >= self._policy.wait_seconds:
            raise NoRoomError(
                f"no room for a reader within {waited:.0f} s (wait_seconds): {refusal}",
                never=False,
            )

    def _return_to_gpu(self, reader: Reader, pixels: int) -> None:
        """From the CPU back to a GPU, if one has room by now."""
        if time.monotonic() - self._rechecked < self._policy.recheck_seconds:
            return
        self._rechecked = time.monotonic()
        try:
            on_gpu = self._take_on_gpu(pixels)
        except (NoRoomError, DeviceFaultError):
            return  # a CUDA that another step broke is no reason to stop on the CPU
        self._reader, self._left = on_gpu, (reader.placed, "a GPU has room")
        self._pool.give_back(reader, idle_seconds=self._policy.idle_seconds)
        self._arrived(on_gpu, pixels)

    def _arrived(self, reader: Reader, pixels: int) -> None:
        """Says where the work goes on."""
        self._overflow.close()
        lease = f"{reader.placed.label}, {gib(reader.placed.lease.size_bytes)} leased"
        if self._left is None:
            self._say(f"detecting on {lease}")
        elif self._left[0].device_id != reader.placed.device_id:
            self.tally.moves += 1
            self._say(f"moved from {self._left[0].label} to {lease}: {self._left[1]}")
        if reader.on_cpu:
            self._rechecked = time.monotonic()
            if self._policy.device == "auto":
                self._overflow.enter_context(self._waiting(pixels, cpu=False))
        else:
            self.tally.lease_bytes = max(self.tally.lease_bytes, reader.placed.lease.size_bytes)

    def _leave(self, reader: Reader, reason: str) -> None:
        self._reader = None
        self._left = (reader.placed, reason)
        self._pool.discard(reader)

    def _exclude(self, device_id: str, label: str, error: Exception) -> None:
        """Stays away from a GPU: for good if PyTorch cannot use it, else longer each time."""
        before = self._excluded.get(device_id)
        if isinstance(error, DeviceError):
            seconds = float("inf")
        elif before is None:
            seconds = self._policy.cooldown_seconds
        else:
            seconds = min(2 * before.seconds, LONGEST_COOLDOWN_SECONDS)
        self._excluded[device_id] = _Exclusion(str(error), time.monotonic() + seconds, seconds)
        long = "from now on" if seconds == float("inf") else f"for {seconds:.0f} s"
        self._say(f"{label} is not used {long}: {error}")

    def _resting(self) -> dict[str, str]:
        now = time.monotonic()
        return {
            uuid: one.reason
            for uuid, one in self._excluded.items()
            if now < one.until < float("inf")
        }

    def _unusable(self) -> dict[str, str]:
        return {
            uuid: one.reason for uuid, one in self._excluded.items() if one.until == float("inf")
        }

    def _waiting(self, pixels: int, *, cpu: bool) -> AbstractContextManager[None]:
        size_bytes = self._pool.footprint(self._settings, on_cpu=False).bytes_for(pixels)
        return waiting_for_room(self._policy, size_bytes, unusable=self._unusable(), cpu=cpu)

    def _count_wait(self, started: float) -> None:
        self.tally.wait_seconds += time.monotonic() - started


def _too_large(width: int, height: int, error: OutOfDeviceMemoryError) -> DetectionError:
    return DetectionError(f"not enough memory for {width}x{height} pixels: {error}")
