"""Who set a pool's limit, and to what, kept in the Dagster instance.

Dagster knows a pool's limit, but not whose it is. The records lie in the instance's own storage, so
that every process and host that shares the instance reads the same ones.
"""

import datetime as dt
import getpass
import json
import os
import socket
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, get_args

import dagster as dg

Source = Literal["sensor", "sync", "pin", "unpin"]

KEY = "ocr_assets/pool/"
RESET_WITHIN = dt.timedelta(minutes=10)


def this_host() -> str:
    """The host's name, as records have it."""
    return socket.gethostname()


def this_user() -> str:
    """Who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return f"user {os.getuid()}"


@dataclass(frozen=True)
class CurrentLimit:
    """A pool's limit as Dagster has it.

    Attributes:
        limit: Slots; None: unlimited.
        explicit: Whether somebody set it; else it is the instance's default.
    """

    limit: int | None
    explicit: bool


@dataclass(frozen=True)
class LimitRecord:
    """A change of a pool's limit that this project made, the last one.

    Attributes:
        limit: What it was set to; None: unlimited.
        source: The sensor, or which command.
        host: Where that ran.
        user: Who ran it.
        why: In a sentence.
        time: When, in seconds since the epoch.
        previous: What it was before, while the change is not known to be completed.
        default: What it was by the instance's default, before the pool had a limit of its own.
        default_until: Till when that was, in seconds since the epoch; None: it is not known.
    """

    limit: int | None
    source: Source
    host: str = field(default_factory=this_host)
    user: str = field(default_factory=this_user)
    why: str = ""
    time: float = field(default_factory=time.time)
    previous: int | None = None
    default: int | None = None
    default_until: float | None = None

    def following(self, record: "LimitRecord | None", current: CurrentLimit) -> "LimitRecord":
        """This one, with what must be known of the pool's past.

        Args:
            record: The one before.
            current: What the limit is before the change.
        """
        new = replace(self, previous=current.limit)
        if not current.explicit:
            return replace(new, default=current.limit, default_until=self.time)
        if record is not None:
            return replace(new, default=record.default, default_until=record.default_until)
        return new

    def says_the_same_as(self, record: "LimitRecord | None") -> bool:
        """Whether that one's change is completed, and of the same limit, source and host."""
        return record is not None and (self.limit, self.source, self.host, None) == (
            record.limit,
            record.source,
            record.host,
            record.previous,
        )

    def who(self) -> str:
        """For people: `sensor on node7, 12 s ago`."""
        who = {
            "sensor": "sensor",
            "sync": "`ocr-assets pools sync`",
            "pin": f"pinned by {self.user}",
            "unpin": f"unpinned by {self.user}",
        }[self.source]
        return f"{who} on {self.host}, {_ago(time.time() - self.time)}"


def current_limit(instance: dg.DagsterInstance, pool: str) -> CurrentLimit:
    """The pool's limit now."""
    for found in instance.event_log_storage.get_pool_limits():
        if found.name == pool:
            return CurrentLimit(found.limit, not found.from_default)
    return CurrentLimit(instance.global_op_concurrency_default_limit, False)


def set_limit(instance: dg.DagsterInstance, pool: str, record: LimitRecord) -> None:
    """Sets a pool's limit, and keeps who did.

    The record comes first, with the limit before: whoever finds that one in force after a crash
    between the two does not take it for somebody else's.
    """
    assert record.limit is not None
    write_record(instance, pool, record)
    instance.event_log_storage.set_concurrency_slots(pool, record.limit)
    # From now on the limit before is one that only somebody else can set.
    write_record(instance, pool, replace(record, previous=None))


def is_ours(instance: dg.DagsterInstance, record: LimitRecord, current: CurrentLimit) -> bool:
    """Whether a limit is what the record's change has made of it."""
    return current.limit in (record.limit, record.previous) or _dagster_reset(
        instance, record, current.limit
    )


def read_record(instance: dg.DagsterInstance, pool: str) -> LimitRecord | None:
    """The pool's record; None if there is none, or none that this version can read."""
    key = f"{KEY}{pool}"
    text = instance.daemon_cursor_storage.get_cursor_values({key}).get(key)
    try:
        record = LimitRecord(**json.loads(text)) if text else None
    except (ValueError, TypeError):
        return None  # another version's: a limit that is there counts as somebody else's
    return record if record and record.source in get_args(Source) else None


def write_record(instance: dg.DagsterInstance, pool: str, record: LimitRecord) -> None:
    """Replaces the pool's record."""
    values = {f"{KEY}{pool}": json.dumps(asdict(record))}
    instance.daemon_cursor_storage.set_cursor_values(values)


def _dagster_reset(instance: dg.DagsterInstance, record: LimitRecord, limit: int | None) -> bool:
    """Whether Dagster itself may have put the default back.

    A run reads the pools' limits once, and when it first claims a slot of a pool that had none
    then, it sets the default, over whatever was set meanwhile (1.13,
    `initialize_concurrency_limit_to_default`). Only runs that began before we set one can do so.
    """
    if record.default_until is None or limit != record.default:
        return False
    before = dt.datetime.fromtimestamp(record.default_until, dt.UTC)
    running = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING],
        created_before=before,
    )
    ended = dg.RunsFilter(
        created_before=before, updated_after=dt.datetime.now(dt.UTC) - RESET_WITHIN
    )
    return any(instance.get_run_ids(runs, limit=1) for runs in (running, ended))


def _ago(seconds: float) -> str:
    for unit, size_seconds in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size_seconds:
            return f"{seconds // size_seconds:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"
