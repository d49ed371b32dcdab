"""The process's detectors: one per model and device, shared by its steps, partitions and threads.

```python
pool = shared_pool()
reader = pool.take_on_gpu(ModelSettings(), Sizing(), policy, pixels=1280 * 736)
try:
    (found,) = reader.begin([rgb], 1280 * 736, DetectionThresholds(), Tally())
finally:
    pool.give_back(reader, idle_seconds=60)
```
"""

import atexit
import functools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence

from ocr_assets.gpu.faults import DeviceError, DeviceFaultError, OutOfDeviceMemoryError
from ocr_assets.gpu.footprint import Footprint
from ocr_assets.gpu.placement import (
    NoRoomError,
    Placed,
    PlacementPolicy,
    place_on_cpu,
    place_on_gpu,
)
from ocr_assets.gpu.state_directory import StateError
from ocr_assets.ocr.detector import LoadDetector, ModelSettings
from ocr_assets.ocr.reader import Reader, Sizing
from ocr_assets.ocr.text_detector import load_text_detector

REAPER_SECONDS = 0.5

log = logging.getLogger(__name__)


class ReaderNotLoadedError(Exception):
    """A device was chosen, but the model did not load onto it; the cause says why.

    Attributes:
        device_id: The GPU's UUID, or `cpu`.
        label: The same for people.
    """

    def __init__(self, device_id: str, label: str, reason: str) -> None:
        """See the class."""
        super().__init__(device_id, label, reason)  # all of it, so that it can be pickled
        self.device_id = device_id
        self.label = label

    def __str__(self) -> str:
        """The reason alone."""
        return str(self.args[-1])


class ReaderPool:
    """Loads detectors, hands them out, and gives their memory back when nobody needs them.

    Attributes:
        load_count: How many models were loaded.
    """

    def __init__(self, load: LoadDetector) -> None:
        """Nothing is loaded yet.

        Args:
            load: Loads a model onto a device.
        """
        self.load_count = 0
        self._load = load
        self._lock = threading.RLock()
        self._open: list[Reader] = []
        self._footprints: dict[tuple[ModelSettings, bool], Footprint] = {}
        self._reaper: threading.Thread | None = None
        self._fault: DeviceFaultError | None = None
        _pools.add(self)

    def take_on_gpu(
        self,
        settings: ModelSettings,
        sizing: Sizing,
        policy: PlacementPolicy,
        pixels: int,
        *,
        excluded: Mapping[str, str] | None = None,
        unusable: Mapping[str, str] | None = None,
        holder: str = "",
    ) -> Reader:
        """A loaded reader on a GPU: an idle one, else a new one, else one that others use too.

        Args:
            settings: Which model.
            sizing: How large a reader is.
            policy: The operator's.
            pixels: Canvas pixels of the frames to come.
            excluded: UUIDs of GPUs to pass over for now, with the reason.
            unusable: UUIDs of GPUs to pass over for good, with the reason.
            holder: What a new reader is for, for people to read.

        Raises:
            NoRoomError: No GPU has room now.
            ReaderNotLoadedError: The GPU ran out of memory, or PyTorch does not see it.
            DeviceFaultError: CUDA is broken in this process.
            StateError: The state directory cannot be used.
        """
        passed_over = {**(excluded or {}), **(unusable or {})}
        with self._lock:
            if self._fault is not None:
                raise self._fault
            there = [
                reader
                for reader in self._of(settings)
                if not reader.on_cpu and reader.placed.device_id not in passed_over
            ]
            reader = next((reader for reader in there if reader.users == 0), None)
            if reader is None:
                taken = {one.placed.device_id: "this process has a reader there" for one in there}
                footprint = self.footprint(settings, on_cpu=False)
                place = functools.partial(
                    place_on_gpu,
                    policy,
                    sizing.gpu_sizes_bytes(footprint, pixels),
                    excluded={**(excluded or {}), **taken},
                    unusable=unusable,
                    holder=holder,
                )
                idle = [
                    one
                    for one in self._idle()
                    if not one.on_cpu and one.placed.device_id not in {**passed_over, **taken}
                ]
                try:
                    reader = self._start(place, idle, settings, sizing, footprint)
                except NoRoomError:
                    if not there:
                        raise
                    reader = min(there, key=lambda one: one.users)
            reader.users += 1
        return self._loaded(reader)

    def take_on_cpu(
        self,
        settings: ModelSettings,
        sizing: Sizing,
        policy: PlacementPolicy,
        pixels: int,
        *,
        holder: str = "",
    ) -> Reader:
        """A loaded reader on the CPU: the process's own, or a new one.

        Arguments as for `take_on_gpu`.

        Raises:
            NoRoomError: All readers that the machine's cores or memory allow are taken.
            StateError: The state directory cannot be used.
        """
        with self._lock:
            reader = next((reader for reader in self._of(settings) if reader.on_cpu), None)
            if reader is None:
                footprint = self.footprint(settings, on_cpu=True)
                place = functools.partial(place_on_cpu, policy, footprint.bytes_for(pixels), holder)
                idle = [one for one in self._idle() if one.on_cpu]
                reader = self._start(place, idle, settings, sizing, footprint)
            reader.users += 1
        return self._loaded(reader)

    def give_back(self, reader: Reader, *, idle_seconds: float) -> None:
        """No longer used by the caller; kept loaded for a while.

        Args:
            reader: From `take_on_gpu` or `take_on_cpu`.
            idle_seconds: How long it is kept if nobody else asks for it, nor for its memory.
        """
        with self._lock:
            reader.users -= 1
            if reader.users > 0:
                return
            if reader.retired:
                self._close(reader)
                return
            reader.idle_until = time.monotonic() + idle_seconds
            if self._reaper is None:
                self._reaper = threading.Thread(target=self._reap, name="idle readers", daemon=True)
                self._reaper.start()

    def discard(self, reader: Reader) -> None:
        """As `give_back`, but nobody gets it again, and it is closed once nobody uses it."""
        with self._lock:
            reader.retired = True
            self.give_back(reader, idle_seconds=0.0)

    def give_up_cuda(self, reader: Reader, fault: DeviceFaultError) -> None:
        """Marks CUDA as broken in this process.

        The reader's memory stays taken until the process ends, and so does its lease.
        """
        with self._lock:
            self._fault = fault
            reader.retired = True

    def close_idle(self) -> int:
        """Closes the readers that nobody uses; returns how many there were."""
        with self._lock:
            idle = self._idle()
            for reader in idle:
                self._close(reader)
            return len(idle)

    def end_leases(self) -> None:
        """At the end of the process, when memory is about to be freed anyway."""
        for reader in self._open:
            reader.placed.lease.release()

    def footprint(self, settings: ModelSettings, *, on_cpu: bool) -> Footprint:
        """What a reader takes, as far as this process knows."""
        for reader in self._of(settings):
            if reader.on_cpu == on_cpu:
                return reader.footprint
        if (settings, on_cpu) in self._footprints:
            return self._footprints[settings, on_cpu]
        if on_cpu:
            return Footprint.for_cpu(recognize=settings.recognize)
        return Footprint.for_gpu(
            recognize=settings.recognize, element_bytes=settings.gpu_element_bytes
        )

    def forget_readers(self) -> None:
        """In a forked child: readers, their threads and their leases are the parent's."""
        self._lock = threading.RLock()
        self._open = []
        self._reaper = None

    def _of(self, settings: ModelSettings) -> list[Reader]:
        return [one for one in self._open if one.settings == settings and not one.retired]

    def _idle(self) -> list[Reader]:
        return [one for one in self._open if one.users == 0 and not one.retired]

    def _close(self, reader: Reader) -> None:
        """Gives its memory back; what was learned of its size is kept."""
        self._open.remove(reader)
        self._footprints[reader.settings, reader.on_cpu] = reader.footprint
        reader.close()

    def _start(
        self,
        place: Callable[[], Placed],
        idle: Sequence[Reader],
        settings: ModelSettings,
        sizing: Sizing,
        footprint: Footprint,
    ) -> Reader:
        """A new reader, for which readers make way that nobody uses, if need be."""
        try:
            placed = place()
        except NoRoomError as refusal:
            if refusal.never or not idle:
                raise
            for reader in idle:
                self._close(reader)
            placed = place()
        reader = Reader(
            settings,
            sizing,
            placed,
            footprint,
            functools.partial(self._on_device, placed.device_id),
        )
        self._open.append(reader)
        self.load_count += 1
        reader.load(self._load)
        return reader

    def _loaded(self, reader: Reader) -> Reader:
        try:
            reader.wait_until_loaded()
        except DeviceFaultError as fault:
            self.give_up_cuda(reader, fault)
            raise
        except (DeviceError, OutOfDeviceMemoryError) as error:
            self.discard(reader)
            placed = reader.placed
            raise ReaderNotLoadedError(placed.device_id, placed.label, str(error)) from error
        except BaseException:
            self.discard(reader)
            raise
        return reader

    def _on_device(self, device_id: str) -> list[Reader]:
        return [one for one in list(self._open) if one.placed.device_id == device_id]

    def _reap(self) -> None:
        """Closes readers that were idle for long, or whose memory another process waits for."""
        while True:
            time.sleep(REAPER_SECONDS)
            with self._lock:
                idle = self._idle()
                if not idle:
                    self._reaper = None
                    return
                for reader in idle:
                    try:
                        if time.monotonic() >= reader.idle_until or _is_wanted(reader):
                            self._close(reader)
                    except Exception:
                        # Nobody waits for it, and the others have to be looked after.
                        log.exception("an idle reader could not be closed")


def _is_wanted(reader: Reader) -> bool:
    try:
        return bool(reader.placed.ledger.state().waiting_bytes)
    except StateError:
        return True  # who cannot be asked may well want it


@functools.cache
def shared_pool() -> ReaderPool:
    """The process's pool of real detectors."""
    pool = ReaderPool(load_text_detector)
    atexit.register(pool.end_leases)
    return pool


_pools: "weakref.WeakSet[ReaderPool]" = weakref.WeakSet()


def _forget_in_child() -> None:
    for pool in list(_pools):
        pool.forget_readers()


os.register_at_fork(after_in_child=_forget_in_child)
