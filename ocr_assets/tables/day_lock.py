"""One run at a time works on a day of a folder of tables."""

import contextlib
import datetime as dt
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock

from ocr_assets.tables.replace_file import replace_file

FOLDER = "_runs"
POLL_SECONDS = 1.0


class DaysLockedError(Exception):
    """Another run worked on the day for as long as this one was willing to wait."""


class DayLostError(DaysLockedError):
    """Another run has taken the day over that this one had; the message names it."""


@contextlib.contextmanager
def days_locked(
    root: Path,
    dates: Sequence[dt.date],
    holder: str,
    *,
    wait_seconds: float,
    say: Callable[[str], None],
) -> Iterator[None]:
    """Keeps the days for oneself while the block runs; waits for whoever has one of them.

    The lock ends with the process that holds it, however that ends.

    Args:
        root: The folder that holds the tables.
        dates: The days, taken in order, so that two runs cannot wait for each other.
        holder: Who takes them, for people to read: `run 1b2c3d4e`.
        wait_seconds: How long to wait.
        say: Takes a message when there is somebody to wait for, and when the waiting is over.

    Raises:
        DaysLockedError: The message names who has the day.
        OSError: The folder cannot be written to.
    """
    folder = root / FOLDER
    with contextlib.ExitStack() as stack:
        for date in sorted(dates):
            folder.mkdir(parents=True, exist_ok=True)
            # For everybody who may write to the folder, not only for who makes the file.
            lock = filelock.FileLock(folder / f"{date}.lock", mode=0o666, thread_local=False)
            note = folder / f"{date}.json"
            _take(lock, date, note, wait_seconds, say)
            stack.callback(lock.release)
            with replace_file(note) as file:
                json.dump({"holder": f"{holder} ({process_name()})", "since": time.time()}, file)
        yield


def _take(
    lock: filelock.BaseFileLock,
    date: dt.date,
    note: Path,
    wait_seconds: float,
    say: Callable[[str], None],
) -> None:
    deadline = time.monotonic() + wait_seconds
    waits_for = None
    while True:
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            found = _holder(note)
            if time.monotonic() > deadline:
                raise DaysLockedError(
                    f"{found} is working on {date} in {note.parent.parent}"
                ) from None
            if found != waits_for:
                say(f"{found} is working on {date} in {note.parent.parent}; waiting for it")
                waits_for = found
            time.sleep(POLL_SECONDS)
        else:
            if waits_for is not None:
                say(f"{date} is free now, going on")
            return


def _holder(note: Path) -> str:
    try:
        found = json.loads(note.read_text())
    except (OSError, ValueError):
        found = {}
    return held_by(found)


def held_by(said: Any) -> str:
    """Who holds a day and since when, by what its holder has written there."""
    try:
        since = dt.datetime.fromtimestamp(said["since"]).astimezone()
        return f"{said['holder']}, since {since:%Y-%m-%d %H:%M:%S},"
    except (OSError, ValueError, KeyError, TypeError):
        return "another run"  # it has taken the lock and not said yet who it is


def process_name() -> str:
    """This process, for people to read."""
    return f"process {os.getpid()} on {socket.gethostname()}"
