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
import os
import re
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from ocr_assets.gpu.held_file import Found, HeldFile, locked, look_at, rewrite
from ocr_assets.gpu.sizes import MIB, gib
from ocr_assets.gpu.snapshot import Memory
from ocr_assets.gpu.state_directory import StateError, ensure_state_directory

FORMAT_VERSION = 1
DRAIN_SECONDS = 1.0
LOG_BYTES = 1 << 20

LOCK, LOG, OLD_LOG = "lock", "log.jsonl", "log.1.jsonl"
LEASES, WAITING = "leases", "waiting"
OUR_FILES = re.compile(r"[0-9a-f]{32}\.json")

Content = TypeVar("Content")


@dataclass(frozen=True)
class Limits:
    """What the operator allows on a device.

    Attributes:
        max_fraction: Greatest sum of leases, as a share of the device's memory, in (0, 1].
        headroom_bytes: Measured free memory that is never leased.
        max_leases: Most leases at once; None: as many as fit.
        always_one: Whether a lease is granted without regard to memory while there is no other.
    """

    max_fraction: float = 0.9
    headroom_bytes: int = 512 * MIB
    max_leases: int | None = 2
    always_one: bool = False

    def allowance_bytes(self, memory: Memory) -> int:
        """Greatest sum of leases on a device with that memory."""
        return int(self.max_fraction * memory.total_bytes)


class LeaseRefusedError(Exception):
    """There is no room; the message says what is missing.

    Attributes:
        never: Whether there would be none even if the device were empty.
    """

    def __init__(self, message: str, *, never: bool) -> None:
        """See the class."""
        super().__init__(message)
        self.never = never


@dataclass(frozen=True)
class LeaseRecord:
    """A lease as everybody sees it.

    Attributes:
        lease_id: 32 hex digits.
        holder: Who holds it, for people to read.
        size_bytes: What it covers.
        allocated_bytes: What of it is surely allocated, and so missing from free memory already.
        since: Seconds since the epoch.
        draining_since: Set once the holder has let go; the lease is about to end.
    """

    lease_id: str
    holder: str
    size_bytes: int
    allocated_bytes: int
    since: float
    draining_since: float | None = None

    @property
    def reserved_bytes(self) -> int:
        """What free memory still has to give for it.

        Of a draining lease all: NVML may count its memory as free before it can be had.
        """
        if self.draining_since is not None:
            return self.size_bytes
        return max(self.size_bytes - self.allocated_bytes, 0)


@dataclass(frozen=True)
class LedgerState:
    """The ledger at one moment.

    Attributes:
        leases: Held by living processes.
        draining: Let go, but not handed out again yet.
        waiting_bytes: What living processes wait for, one entry each.
        problems: Files that are torn, foreign, or of another version of the format.
    """

    leases: tuple[LeaseRecord, ...] = ()
    draining: tuple[LeaseRecord, ...] = ()
    waiting_bytes: tuple[int, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def leased_bytes(self) -> int:
        """The sum of all leases, draining ones included."""
        return sum(lease.size_bytes for lease in (*self.leases, *self.draining))

    @property
    def reserved_bytes(self) -> int:
        """The part of it that measured free memory does not show as taken."""
        return sum(lease.reserved_bytes for lease in (*self.leases, *self.draining))

    def admissible_bytes(self, memory: Memory, limits: Limits) -> int:
        """The largest further lease, 0 or more, `max_leases` aside."""
        by_allowance = limits.allowance_bytes(memory) - self.leased_bytes
        by_free = memory.free_bytes - self.reserved_bytes - limits.headroom_bytes
        return max(min(by_allowance, by_free), 0)


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
            _admit(state, memory, limits, size_bytes)
            lease_id = uuid.uuid4().hex
            record = LeaseRecord(lease_id, _holder(holder), size_bytes, 0, self._clock())
            # Before there is a lease that a log which cannot be written would leave behind.
            self._log("take", record, state.leased_bytes + size_bytes, memory, limits)
            file = HeldFile(self._path(LEASES, lease_id), _written(record))
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
            record = {"version": FORMAT_VERSION, "size_bytes": size_bytes, "holder": _holder("")}
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
        found, problems = _readable(self.folder / LEASES, _parsed)
        for path, alive, record in found:
            if alive:
                leases.append(record)
                continue
            now = self._clock()
            if record.draining_since is None:
                record = replace(record, draining_since=now)
                rewrite(path, _written(record))
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
        found, problems = _readable(self.folder / WAITING, _waited_bytes)
        for path, alive, _ in found:
            if not alive:
                path.unlink()
        return tuple(size_bytes for _, alive, size_bytes in found if alive), problems

    def _strays(self) -> list[str]:
        ours = {LOCK, LOG, OLD_LOG, LEASES, WAITING}
        return [_stray(path) for path in self.folder.iterdir() if path.name not in ours]

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
        with open(log, "a", opener=_private) as file:
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
                _admit(state, memory, limits, size_bytes, self._record)
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
                    self._file.write(_written(draining))
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
        self._file.write(_written(record))
        self._record = record

    def _put_back(self) -> None:
        """Writes the file anew if somebody emptied the state directory."""
        if self._file.is_ours and not self._file.is_on_disk:
            path = self._file.path
            self._file.let_go()
            self._file = HeldFile(path, _written(self._record))


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


def _admit(
    state: LedgerState,
    memory: Memory,
    limits: Limits,
    size_bytes: int,
    held: LeaseRecord | None = None,
) -> None:
    """Refuses a lease of `size_bytes`, or to make the one that is held as large as that.

    Raises:
        LeaseRefusedError: There is no room for it.
    """
    others = [lease for lease in state.leases if held is None or lease.lease_id != held.lease_id]
    if limits.always_one and not others:
        return
    allowance = limits.allowance_bytes(memory)
    at_best = min(allowance, memory.total_bytes - limits.headroom_bytes)
    if limits.headroom_bytes > memory.total_bytes:
        raise LeaseRefusedError(
            f"headroom of {gib(limits.headroom_bytes)} exceeds the device's "
            f"{gib(memory.total_bytes)}; lower headroom_bytes",
            never=not limits.always_one,
        )
    if size_bytes > at_best and not limits.always_one:
        raise LeaseRefusedError(
            f"{gib(size_bytes)} needed, but of {gib(memory.total_bytes)} at most {gib(at_best)} "
            f"may be leased (max_fraction {limits.max_fraction:g}, headroom "
            f"{gib(limits.headroom_bytes)})",
            never=True,
        )
    if held is None and limits.max_leases is not None and len(others) >= limits.max_leases:
        taken = "the one reader" if limits.max_leases == 1 else f"all {limits.max_leases} readers"
        raise LeaseRefusedError(f"{taken} allowed there taken", never=False)
    more = size_bytes - (held.size_bytes if held else 0)
    admissible = state.admissible_bytes(memory, limits)
    if more > admissible:
        raise LeaseRefusedError(
            f"{gib(more)} needed, {gib(admissible)} to be had: {gib(memory.free_bytes)} free, "
            f"{gib(state.reserved_bytes)} of it reserved by {len(state.leases)} leases "
            f"({len(state.draining)} draining), {gib(limits.headroom_bytes)} headroom; "
            f"{gib(state.leased_bytes)} of {gib(allowance)} leased",
            never=False,
        )


def _readable(
    folder: Path, parse: Callable[[Path, dict[str, Any]], Content]
) -> tuple[list[tuple[Path, bool, Content]], tuple[str, ...]]:
    """The files of a folder whose content is as it should be, and what is wrong with the others.

    Of those, ours are removed when their holder is gone, and foreign ones are left alone.
    """
    good: list[tuple[Path, bool, Content]] = []
    problems: list[str] = []
    for path in sorted(folder.iterdir()):
        found = _look_at(path)
        if found is None:
            problems.append(_stray(path))
            continue
        try:
            good.append((path, found.alive, _content(found, parse)))
        except ValueError as problem:
            if found.alive:
                problems.append(f"{path} {problem}; of it only what is allocated counts")
            else:
                problems.append(f"{path} {problem}, and its holder is gone; it is removed")
                path.unlink()
    return good, tuple(problems)


def _look_at(path: Path) -> Found | None:
    if not OUR_FILES.fullmatch(path.name):
        return None
    try:
        return look_at(path)
    except OSError:
        return None  # a folder or a link of that name


def _content(found: Found, parse: Callable[[Path, dict[str, Any]], Content]) -> Content:
    if found.record is None:
        raise ValueError("is torn")
    version = found.record.get("version")
    if version != FORMAT_VERSION:
        raise ValueError(f"is of format {version!r}, this program knows {FORMAT_VERSION}")
    try:
        return parse(found.path, found.record)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"is no record of the ledger ({error!r})") from error


def _stray(path: Path) -> str:
    return f"{path} is not a file of the ledger; it is left alone"


def _waited_bytes(path: Path, record: dict[str, Any]) -> int:
    return int(record["size_bytes"])


def _written(record: LeaseRecord) -> dict[str, Any]:
    fields = asdict(record)
    del fields["lease_id"]  # the file's name has it
    return {"version": FORMAT_VERSION, **fields}


def _parsed(path: Path, record: dict[str, Any]) -> LeaseRecord:
    draining_since = record["draining_since"]
    return LeaseRecord(
        lease_id=path.stem,
        holder=str(record["holder"]),
        size_bytes=int(record["size_bytes"]),
        allocated_bytes=int(record["allocated_bytes"]),
        since=float(record["since"]),
        draining_since=None if draining_since is None else float(draining_since),
    )


def _holder(purpose: str) -> str:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]]).strip() or "python"
    process = f"{_plain(command)}, process {os.getpid()} on {socket.gethostname()}"
    return f"{_plain(purpose)} ({process})" if purpose else process


def _plain(text: str) -> str:
    """Without what would make the record longer than it may be."""
    ascii_text = text.encode("ascii", "backslashreplace").decode()
    return "".join(letter if letter.isprintable() else "?" for letter in ascii_text)[:150]


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
