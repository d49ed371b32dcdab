"""Files that count as long as the process that made them lives.

A process keeps `flock` on its file. The kernel lets go of the lock when the process ends, however
it ends, and whatever process ids look like across containers; who can take the lock knows that the
holder is gone.
"""

import fcntl
import json
import os
import random
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocr_assets.gpu.state_directory import StateError

RECORD_BYTES = 1024
LOCK_SECONDS = 30.0
FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW

_held: "weakref.WeakSet[HeldFile]" = weakref.WeakSet()
_locks: set[int] = set()
_forking = threading.RLock()


class HeldFile:
    """A small JSON object in a file of ours that we keep locked."""

    def __init__(self, path: Path, record: Mapping[str, Any]) -> None:
        """Creates the file; call it under the lock of the folder.

        Raises:
            OSError: It cannot be made.
        """
        self.path = path
        with _forking:
            self._descriptor = os.open(path, FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
            _held.add(self)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.write(record)
        except BaseException:
            self.let_go()
            path.unlink(missing_ok=True)
            raise

    @property
    def is_ours(self) -> bool:
        """False once let go, and in a forked child."""
        return self._descriptor >= 0

    @property
    def is_on_disk(self) -> bool:
        """False if somebody removed the file behind our back."""
        return self.is_ours and os.fstat(self._descriptor).st_nlink > 0

    def fileno(self) -> int:
        """The descriptor that holds the lock."""
        return self._descriptor

    def write(self, record: Mapping[str, Any]) -> None:
        """Replaces the object, in one write of always the same length, so that none is torn."""
        os.pwrite(self._descriptor, encoded(record), 0)

    def let_go(self) -> None:
        """Gives up the lock. The file stays; whoever looks next takes it for a dead one's."""
        if self.is_ours:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)


@dataclass(frozen=True)
class Found:
    """A file of that kind as another process finds it.

    Attributes:
        path: Where.
        alive: Whether its holder lives.
        record: The object; None if it is torn, or not an object at all.
    """

    path: Path
    alive: bool
    record: dict[str, Any] | None


def look_at(path: Path) -> Found:
    """Reads a file and finds out whether it is held; call it under the lock of the folder.

    Raises:
        OSError: It cannot be opened, or is a link.
    """
    with _forking:
        descriptor = os.open(path, FLAGS)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            alive = True
        else:
            alive = False
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        text = os.pread(descriptor, RECORD_BYTES, 0)
    finally:
        os.close(descriptor)
    return Found(path, alive, _decoded(text))


def rewrite(path: Path, record: Mapping[str, Any]) -> None:
    """Replaces the object in a dead holder's file; call it under the lock of the folder."""
    descriptor = os.open(path, FLAGS)
    try:
        os.pwrite(descriptor, encoded(record), 0)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process or thread at a time; hold it for as short as can be, and wait for nothing in it.

    Raises:
        StateError: The lock was not to be had within half a minute.
        OSError: The file cannot be made.
    """
    with _forking:
        descriptor = os.open(path, FLAGS | os.O_CREAT, 0o600)
        _locks.add(descriptor)
    try:
        _take(descriptor, path)
        yield
    finally:
        with _forking:
            # Not left to close(): a child that is just being started may share the open file.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            _locks.discard(descriptor)
            os.close(descriptor)


def encoded(record: Mapping[str, Any]) -> bytes:
    """The object, padded to `RECORD_BYTES`."""
    text = json.dumps(record).encode()
    if len(text) >= RECORD_BYTES:
        raise ValueError(f"a record of {len(text)} bytes, more than {RECORD_BYTES}")
    return text.ljust(RECORD_BYTES - 1) + b"\n"


def _decoded(text: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _take(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StateError(
                    f"{path} has been locked for {LOCK_SECONDS:.0f} s; a process that holds it is "
                    f"stopped or hangs (`fuser {path}` names it)"
                ) from None
            time.sleep(random.uniform(0.0005, 0.005))
        else:
            return


def _close_in_child() -> None:
    """A forked child shares the parent's locks; it must not keep them when the parent is gone."""
    for file in list(_held):
        if file.is_ours:
            file._close()
    _held.clear()
    for descriptor in _locks:
        os.close(descriptor)
    _locks.clear()
    _forking.release()


# No fork while a descriptor is open that is not in `_held` yet.
os.register_at_fork(
    before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_close_in_child
)
