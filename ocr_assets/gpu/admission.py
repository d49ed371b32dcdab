"""Whether a lease is granted: the rule, without files and locks."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from ocr_assets.gpu.sizes import MIB, gib
from ocr_assets.gpu.snapshot import Memory


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

    def at_best_bytes(self, memory: Memory) -> int:
        """The largest lease on that device if nobody else used it."""
        return min(self.allowance_bytes(memory), memory.total_bytes - self.headroom_bytes)


class WithoutRoomError(Exception):
    """What is common to errors that say that there is no room.

    Attributes:
        never: Whether there would be none even if nothing else were there.
    """

    def __init__(self, message: str, *, never: bool) -> None:
        """See the class."""
        super().__init__(message)
        self.never = never

    def __reduce__(self) -> tuple[Callable[..., Self], tuple[str], dict[str, object]]:
        """Errors of other processes come pickled, with their notes."""
        return functools.partial(type(self), never=self.never), (str(self),), self.__dict__


class LeaseRefusedError(WithoutRoomError):
    """There is no room on a device; the message says what is missing.

    Attributes:
        never: Whether there would be none even if the device were empty.
    """


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


def admit(
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
    at_best = limits.at_best_bytes(memory)
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
