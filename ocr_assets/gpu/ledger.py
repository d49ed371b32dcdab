"""Leases on a device's memory, shared by all processes of a user on this host.

Forty processes that each look at free memory all see the same free memory. So each takes a lease,
in bytes, before it allocates:

```python
ledger = Ledger(default_state_directory(), gpu.uuid, lambda: read_memory(gpu.uuid))
with ledger.take(2 * GIB, Limits()) as lease:
    ...
```

The ledger of a device is a folder with one file per lease. A lease ends when its holder ends,
however it ends. What it covered then *drains* for a moment, since freed memory is not at once
available, and is handed out again after that.
"""

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ocr_assets.gpu.admission import LeaseRecord, LedgerState, Limits, admit
from ocr_assets.gpu.held_file import HeldFile, locked, rewrite
from ocr_assets.gpu.ledger_files import (
    FORMAT_VERSION,
    LEASES,
    LOCK,
    LOG,
    OLD_LOG,
    WAITING,
    holder_name,
    lease_json,
    parse_lease,
    private_opener,
    readable,
    stray,
    waited_bytes,
)
from ocr_assets.gpu.snapshot import Memory
from ocr_assets.gpu.state_directory import StateError, ensure_state_directory

DRAIN_SECONDS = 1.0
LOG_BYTES = 1 << 20


class Ledger:
    """The leases on one device."""

    def __init__(
        self,
        directory: Path,
        device: str,
        measure: Callable[[], Memory],
        *,
        drain_seconds: float = DRAIN_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Names a ledger; nothing is touched until it is used.

        Args:
            directory: The state directory, on a local disk, the same for all processes.
            device: The device's UUID, or any other name that all processes agree on.
            measure: The device's memory now. It is called under the ledger's lock.
            drain_seconds: How long what a lease covered stays reserved after its end.
            clock: Seconds since the epoch.
        """
        self.device = device
        self.folder = directory / re.sub(r"[^A-Za-z0-9.-]", "_", device)
        self._directory = directory
        self._measure = measure
        self._drain_seconds = drain_seconds
        self._clock = clock

    def take(self, size_bytes: int, limits: Limits, holder: str = "") -> "Lease":
        """A lease, to be taken before the memory is.

        Args:
            size_bytes: What it covers.
            limits: What the operator allows.
            holder: What it is for, for people to read; command and process are added.

        Raises:
            LeaseRefusedError: There is no room.
            StateError: The state directory cannot be used.
        """
        with self._locked():
            state = self._read_leases()
            memory = self._measure()
            admit(state, memory, limits, size_bytes)
            lease_id = uuid.uuid4().hex
            record = LeaseRecord(lease_id, holder_name(holder), size_bytes, 0, self._clock())
            # Before there is a lease that a log which cannot be written would leave behind.
            self._log("take", record, state.leased_bytes + size_bytes, memory, limits)
            file = HeldFile(self._path(LEASES, lease_id), lease_json(record))
            return Lease(self, file, record)

    def room_bytes(self, limits: Limits) -> int:
        """The largest lease that would be granted now; 0 if none."""
        with self._locked():
            state = self._read_leases()
            if limits.max_leases is not None and len(state.leases) >= limits.max_leases:
                return 0
            return state.admissible_bytes(self._measure(), limits)

    def state(self) -> LedgerState:
        """Who holds what and who waits. Leases of holders that have died begin to drain.

        Raises:
            StateError: The state directory cannot be used.
        """
        with self._locked():
            state = self._read_leases()
            waiting, problems = self._read_waiting()
            return replace(
                state, waiting_bytes=waiting, problems=(*state.problems, *problems, *self._strays())
            )

    def waiting(self, size_bytes: int) -> "Waiter":
        """Tells other processes that this one waits for memory, until the waiter is closed."""
        with self._locked():
            record = {
                "version": FORMAT_VERSION,
                "size_bytes": size_bytes,
                "holder": holder_name(""),
            }
            return Waiter(self, HeldFile(self._path(WAITING, uuid.uuid4().hex), record))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The ledger is ours alone meanwhile."""
        ensure_state_directory(self._directory)
        try:
            for folder in (self.folder, self.folder / LEASES, self.folder / WAITING):
                folder.mkdir(mode=0o700, exist_ok=True)
            with locked(self.folder / LOCK):
                yield
        except OSError as error:
            raise StateError(f"the ledger in {self.folder} cannot be used: {error}") from error

    def _read_leases(self) -> LedgerState:
        leases: list[LeaseRecord] = []
        draining: list[LeaseRecord] = []
        died: list[LeaseRecord] = []
        found, problems = readable(self.folder / LEASES, parse_lease)
        for path, alive, record in found:
            if alive:
                leases.append(record)
                continue
            now = self._clock()
            if record.draining_since is None:
                record = replace(record, draining_since=now)
                rewrite(path, lease_json(record))
                died.append(record)
            since = now if record.draining_since is None else record.draining_since
            # A clock that was set back must not prolong it.
            if since <= now < since + self._drain_seconds:
                draining.append(record)
            else:
                path.unlink()
        state = LedgerState(tuple(leases), tuple(draining), problems=problems)
        for record in died:
            self._log("holder died", record, state.leased_bytes)
        return state

    def _read_waiting(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        found, problems = readable(self.folder / WAITING, waited_bytes)
        for path, alive, _ in found:
            if not alive:
                path.unlink()
        return tuple(size_bytes for _, alive, size_bytes in found if alive), problems

    def _strays(self) -> list[str]:
        ours = {LOCK, LOG, OLD_LOG, LEASES, WAITING}
        return [stray(path) for path in self.folder.iterdir() if path.name not in ours]

    def _path(self, folder: str, identifier: str) -> Path:
        return self.folder / folder / f"{identifier}.json"

    def _log(
        self,
        event: str,
        record: LeaseRecord,
        leased_bytes: int | None = None,
        memory: Memory | None = None,
        limits: Limits | None = None,
    ) -> None:
        """One line on what happened; the file is kept below `LOG_BYTES`, and one older one."""
        line: dict[str, Any] = {
            "time": self._clock(),
            "event": event,
            "lease_id": record.lease_id,
            "holder": record.holder,
            "size_bytes": record.size_bytes,
        }
        if leased_bytes is not None:
            line["leased_bytes"] = leased_bytes
        if memory is not None and limits is not None:
            line["allowance_bytes"] = limits.allowance_bytes(memory)
            line["free_bytes"] = memory.free_bytes
        log = self.folder / LOG
        with open(log, "a", opener=private_opener) as file:
            file.write(json.dumps(line) + "\n")
            size = file.tell()
        if size > LOG_BYTES:
            log.replace(self.folder / OLD_LOG)


class Lease:
    """Memory that this process may allocate.

    A context manager: leaving the block releases it.
    """

    def __init__(self, ledger: Ledger, file: HeldFile, record: LeaseRecord) -> None:
        """Made by `Ledger.take`."""
        self._ledger = ledger
        self._file = file
        self._record = record

    @property
    def lease_id(self) -> str:
        """32 hex digits."""
        return self._record.lease_id

    @property
    def size_bytes(self) -> int:
        """What it covers."""
        return self._record.size_bytes

    def fileno(self) -> int:
        """The descriptor whose lock is the lease; closing it is what death does."""
        return self._file.fileno()

    def resize(self, size_bytes: int, limits: Limits) -> None:
        """Makes it larger, if there is room, or smaller.

        Raises:
            LeaseRefusedError: There is no room; the lease stays as it was.
            StateError: The state directory cannot be used.
        """
        with self._ledger._locked():
            self._put_back()
            state = self._ledger._read_leases()
            memory = self._ledger._measure()
            if size_bytes > self.size_bytes:
                admit(state, memory, limits, size_bytes, self._record)
            others = state.leased_bytes - self.size_bytes
            self._rewrite(replace(self._record, size_bytes=size_bytes))
            self._ledger._log("resize", self._record, others + size_bytes, memory, limits)

    def report_allocated(self, allocated_bytes: int) -> None:
        """Tells how much of it is allocated, so that it is not counted twice.

        Args:
            allocated_bytes: What is surely taken on the device; say less rather than more.
        """
        with self._ledger._locked():
            if self._file.is_ours:
                self._put_back()
                self._rewrite(replace(self._record, allocated_bytes=allocated_bytes))

    def release(self) -> None:
        """Ends it; what it covered drains first. Nothing happens the second time."""
        if not self._file.is_ours:
            return
        try:
            with self._ledger._locked():
                if self._file.is_on_disk:
                    draining = replace(self._record, draining_since=self._ledger._clock())
                    self._file.write(lease_json(draining))
                self._file.let_go()
                self._ledger._log("release", self._record)
        finally:
            self._file.let_go()  # whatever became of the ledger

    def __enter__(self) -> Self:
        """Nothing more."""
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Releases it."""
        self.release()

    def _rewrite(self, record: LeaseRecord) -> None:
        self._file.write(lease_json(record))
        self._record = record

    def _put_back(self) -> None:
        """Writes the file anew if somebody emptied the state directory."""
        if self._file.is_ours and not self._file.is_on_disk:
            path = self._file.path
            self._file.let_go()
            self._file = HeldFile(path, lease_json(self._record))


class Waiter:
    """This process waits for memory; close it when it no longer does."""

    def __init__(self, ledger: Ledger, file: HeldFile) -> None:
        """Made by `Ledger.waiting`."""
        self._ledger = ledger
        self._file = file

    def close(self) -> None:
        """No longer waiting."""
        if not self._file.is_ours:
            return
        try:
            with self._ledger._locked():
                self._file.path.unlink(missing_ok=True)
        finally:
            self._file.let_go()  # whatever became of the ledger
