"""What a command costs: wall seconds, CPU seconds and peak memory of its whole process tree.

CPU seconds are those that the kernel has counted for the command and for all its descendants when
the last of them has ended. Memory is the sum of PSS (proportional set size: pages that n processes
share count 1/n in each) over the processes of the tree, from /proc/<pid>/smaps_rollup. Reading that
costs up to 30 ms a GB, which would slow down what is measured; so five times a second the resident
sizes are looked at, which is cheap, and PSS only when their sum is higher than ever, and every two
seconds. A shorter peak is missed.

Pages shared with programs outside of the tree count by their share, too: the benchmark's own
process loads neither torch nor OpenCV nor PyAV, and nothing else that does should run beside it.
"""

import contextlib
import ctypes
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

MEMORY_NOTE = (
    "memory: PSS of all processes of the tree, summed; looked at five times a second (by resident "
    "sizes; PSS itself when they are higher than ever, and every 2 s)\n"
    "CPU seconds: user and system, of all processes of the tree"
)
LOOKS_PER_SECOND = 5
PSS_EVERY_SECONDS = 2.0
HIGHER = 1.01  # than the highest sum of resident sizes so far
ORPHANS_WAIT_SECONDS = 10.0
LOG_TAIL = 3000
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PR_SET_CHILD_SUBREAPER = 36


class CommandFailedError(Exception):
    """A measured command failed; the message has the end of what it printed."""


@dataclass(frozen=True)
class Cost:
    """What a command took."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int

    def above(self, base: "Cost") -> "Cost":
        """What it took more than another one; the peak is its own."""
        return Cost(
            self.wall_seconds - base.wall_seconds,
            self.cpu_seconds - base.cpu_seconds,
            self.peak_bytes,
        )


@dataclass(frozen=True)
class Spread:
    """The median of several rounds, with the least and the greatest."""

    median: float
    least: float
    greatest: float


def spread(values: Sequence[float]) -> Spread:
    """Median, least and greatest."""
    return Spread(statistics.median(values), min(values), max(values))


def paired_ratios(reference: Sequence[float], ours: Sequence[float]) -> list[float]:
    """How many times as much the reference took as we did, round by round."""
    return [theirs / mine for theirs, mine in zip(reference, ours, strict=True)]


def measure_command(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    folder: Path,
    log: Path,
) -> Cost:
    """Runs a command to its end.

    Args:
        command: Program and arguments.
        environment: All of its environment variables.
        folder: Its working directory.
        log: Where what it prints goes to.

    Raises:
        CommandFailedError: It did not exit with 0.
    """
    others = _children()
    with _adopted_orphans(), log.open("wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in command],
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        with _PeakMemory(process.pid) as memory:
            _, status, usage = os.wait4(process.pid, 0)
            wall_seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        cpu_seconds = usage.ru_utime + usage.ru_stime + _reap_orphans(others)
    if process.returncode != 0:
        tail = log.read_text(errors="replace")[-LOG_TAIL:]
        words = " ".join(str(word) for word in command)
        raise CommandFailedError(f"{words} exited with {process.returncode}:\n{tail}")
    return Cost(wall_seconds, cpu_seconds, memory.peak_bytes)


class _PeakMemory:
    """Looks at the memory of a process tree for as long as the `with` block lasts."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "_PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        highest_resident, looked = 0.0, -PSS_EVERY_SECONDS
        while not self._done.wait(1 / LOOKS_PER_SECOND):
            pids = _tree(self._pid)
            resident = sum(_resident_bytes(pid) for pid in pids)
            now = time.monotonic()
            if resident > HIGHER * highest_resident or now >= looked + PSS_EVERY_SECONDS:
                self.peak_bytes = max(self.peak_bytes, sum(map(_pss_bytes, pids)))
                highest_resident, looked = max(highest_resident, resident), now


def tree_bytes(pid: int) -> int:
    """PSS of a process and of its descendants, in bytes; 0 for those that have just ended."""
    return sum(map(_pss_bytes, _tree(pid)))


def _tree(pid: int) -> list[int]:
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def _resident_bytes(pid: int) -> int:
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(pages) * PAGE_BYTES


def _pss_bytes(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return parse_pss(text)


def parse_pss(smaps_rollup: str) -> int:
    """The line `Pss:` in bytes; 0 if there is none, as of a process without memory."""
    for line in smaps_rollup.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


@contextlib.contextmanager
def _adopted_orphans() -> Iterator[None]:
    """Descendants whose parent ends become this process's children, so that it can count them."""
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        library.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _reap_orphans(others: set[int]) -> float:
    """CPU seconds of descendants that outlived the command; waits for them a while.

    Args:
        others: Children that this process had before.
    """
    seconds = 0.0
    deadline = time.monotonic() + ORPHANS_WAIT_SECONDS
    while orphans := _children() - others:
        for orphan in orphans:
            pid, _, usage = os.wait4(orphan, os.WNOHANG)
            if pid:
                seconds += usage.ru_utime + usage.ru_stime
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return seconds


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}
