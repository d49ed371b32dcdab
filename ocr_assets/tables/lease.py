"""One run at a time works on a day of tables in an object storage, which knows no locks.

A day has an object that its holder rewrites every few seconds. Who waits watches it: one that has
not changed for a while is taken over. How long that was the waiting side measures with its own
clock, so that clocks of hosts are never compared. Every write is conditional on the version that
was seen last, so that of two who take a day at once one gets it, and a holder that was paused finds
out.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ocr_assets.object_storage_errors import ObjectStorageError, Problem
from ocr_assets.tables.day_lock import (
    FOLDER,
    DayLostError,
    DaysLockedError,
    held_by,
    process_name,
)

if TYPE_CHECKING:
    from obstore import UpdateVersion

    from ocr_assets.tables.folder import EnsureHeld
    from ocr_assets.tables.object_folder import ObjectFolder

LEASE_SECONDS = 60.0  # one that does not change for so long has no holder any more
RENEWALS = 6  # in that time
RACE_SECONDS = 0.2  # between two looks of those who want the same free day


@contextlib.contextmanager
def days_leased(
    folder: ObjectFolder,
    dates: Sequence[dt.date],
    holder: str,
    *,
    wait_seconds: float,
    say: Callable[[str], None],
    warn: Callable[[str], None],
    lease_seconds: float = LEASE_SECONDS,
) -> Iterator[EnsureHeld]:
    """Keeps days for oneself while the block runs; waits for whoever has one of them.

    In the block, what it gives asks the storage whether a day is still ours; see
    `Folder.days_locked`.

    Args:
        folder: That of the tables.
        dates: The days.
        holder: Who takes them, for people to read.
        wait_seconds: How long to wait.
        say: Takes a message when there is somebody to wait for, and when the waiting is over.
        warn: Takes a message, from another thread, when a day is lost before the block ends.
        lease_seconds: After how long without a sign of its holder a day is free.

    Raises:
        DaysLockedError: The message names who has the day.
        OSError: The storage fails, or overwrites what it must not.
    """
    leases: dict[dt.date, _Lease] = {}

    def ensure_held(date: dt.date) -> None:
        if date in leases:
            leases[date].ensure_held()

    with contextlib.ExitStack() as stack:
        for date in sorted(dates):
            lease = _Lease(folder, date, f"{holder} ({process_name()})", warn, lease_seconds)
            lease.take(wait_seconds, say)
            stack.callback(lease.release)
            if not leases:
                lease.ensure_conditions_count()
            leases[date] = lease
        yield ensure_held


class _Lease:
    def __init__(
        self,
        folder: ObjectFolder,
        date: dt.date,
        holder: str,
        warn: Callable[[str], None],
        seconds: float,
    ) -> None:
        self._folder = folder
        # A renewal that is tried for longer than the lease would be of no use.
        self._impatient = folder.impatient(seconds / RENEWALS)
        self._date = date
        self._name = f"{FOLDER}/{date}.lease.json"
        self._warn = warn
        self._seconds = seconds
        self._said: dict[str, Any] = {
            "holder": holder,
            "since": time.time(),
            "lease": uuid.uuid4().hex,
            "beat": 0,
        }
        self._tag: UpdateVersion | None = None
        self._is_lost = False
        self._lock = threading.Lock()  # over the two, and the beat
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease of {date}", daemon=True)

    def take(self, wait_seconds: float, say: Callable[[str], None]) -> None:
        """Returns when the day is ours, and from then on it stays so."""
        deadline = time.monotonic() + wait_seconds
        waits_for = None
        seen: UpdateVersion | None = None
        seen_at = 0.0
        while True:
            found = self._folder.tagged(self._name)
            now = time.monotonic()
            if found is None or seen is None or found.tag != seen:
                seen, seen_at = found.tag if found else None, now
            there = _parsed(found.text) if found else {}
            is_free = there.get("holder") is None or now - seen_at > self._seconds
            if is_free and self._write(self._folder, seen):
                break
            held = held_by(there)
            if now > deadline:
                raise DaysLockedError(f"{held} is working on {self._date} in {self._folder.uri}")
            if is_free:
                # Another one was faster, or it was ours and its answer was lost.
                self._is_over.wait(RACE_SECONDS)
                continue
            if held != waits_for:
                say(f"{held} is working on {self._date} in {self._folder.uri}; waiting for it")
                waits_for = held
            self._is_over.wait(self._seconds / RENEWALS / 2)
        if waits_for is not None:
            say(f"{self._date} is free now, going on")
        self._thread.start()

    def ensure_conditions_count(self) -> None:
        """Tries to create what is there, and to replace a version that is there no more.

        Commits, too, rely on being refused the one, and leases on being refused the other.

        Raises:
            ObjectStorageError: The storage overwrites it.
        """
        text = json.dumps(self._said)
        with self._lock:
            outdated = self._tag
            self._is_lost = not self._write(self._folder, outdated)
            for tag, header in ((None, "If-None-Match: *"), (outdated, "If-Match")):
                if self._folder.put_if(self._name, text, tag) is not None:
                    problem = Problem(
                        f"is overwritten although it was asked not to be ({header} on PUT), so "
                        "that runs would undo each other's commits",
                        "keep the tables in a storage that has conditional writes",
                        True,
                    )
                    raise ObjectStorageError(self._folder.address(self._name), problem)

    def ensure_held(self) -> None:
        """Renews it, so that from now on there is time to do something.

        Raises:
            DayLostError: The day is another one's.
            OSError: The storage does not say.
        """
        if self._is_renewed():
            return
        found = self._impatient.tagged(self._name)
        by = held_by(_parsed(found.text) if found else {})
        raise DayLostError(
            f"{by} took {self._date} in {self._folder.uri} over, as this run had not renewed its "
            f"lease for {self._seconds:.0f} s; what that one writes stands"
        )

    def release(self) -> None:
        """The day is free at once."""
        self._is_over.set()
        self._thread.join()
        if not self._is_lost:
            # Not by deleting it, which could be the lease of another one by now.
            text = json.dumps({"holder": None, "lease": self._said["lease"]})
            with contextlib.suppress(ObjectStorageError):  # then it is free a little later
                self._impatient.put_if(self._name, text, self._tag)

    def _renew(self) -> None:
        renewed_at = time.monotonic()
        is_told = False
        while not self._is_over.wait(self._seconds / RENEWALS):
            try:
                if not self._is_renewed():
                    self._warn(
                        f"{self._folder.uri} of {self._date} was taken over by another run, as "
                        f"this one did not renew its lease for {self._seconds:.0f} s: this one "
                        "will be refused when it begins or finishes a table"
                    )
                    return
            except Exception as error:  # whatever it is, the run has to be told
                if not is_told and time.monotonic() - renewed_at > self._seconds:
                    is_told = True
                    self._warn(
                        f"the lease of {self._date} cannot be renewed, so that another run may "
                        f"take the day over: {error}"
                    )
            else:
                renewed_at = time.monotonic()
                is_told = False

    def _is_renewed(self) -> bool:
        with self._lock:
            self._is_lost = self._is_lost or not self._write(self._impatient, self._tag)
            return not self._is_lost

    def _write(self, folder: ObjectFolder, tag: UpdateVersion | None) -> bool:
        """Writes the lease over a version of the object; whether it is ours then."""
        self._said["beat"] += 1
        text = json.dumps(self._said)
        written = folder.put_if(self._name, text, tag)
        if written is None:
            # Where the answer was lost the request is tried again, and finds what it has written.
            found = folder.tagged(self._name)
            if found is None or _parsed(found.text).get("lease") != self._said["lease"]:
                return False
            written = found.tag
        self._tag = written
        return True


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
