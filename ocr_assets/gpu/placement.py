"""Where a reader goes, decided when there is work and not when it is configured.

The GPU with the most memory to be had that the reader fits on; when none has room, what the
operator chose: wait, the CPU, or an error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ocr_assets.gpu import host
from ocr_assets.gpu.admission import LeaseRefusedError, Limits, WithoutRoomError
from ocr_assets.gpu.ledger import DRAIN_SECONDS, Lease, Ledger
from ocr_assets.gpu.nvml import NvmlUnavailableError
from ocr_assets.gpu.snapshot import Gpu, Memory, read_memory, take_snapshot

DevicePolicy = Literal["auto", "cpu", "cuda"]
WhenGpuFull = Literal["auto", "cpu", "wait", "fail"]

CPU = "cpu"


class NoRoomError(WithoutRoomError):
    """A reader fits nowhere now.

    Attributes:
        never: Whether it would not even if nothing else ran on the GPUs that there are.
    """


@dataclass(frozen=True)
class PlacementPolicy:
    """What the operator wants.

    Attributes:
        device: `cpu`, `cuda`, or `auto`: GPUs if this process sees any, else the CPU.
        when_gpu_full: What to do while no GPU has room: use the `cpu`, `wait`, `fail`, or `auto`:
            `cpu` if the device is `auto`, `wait` if it is `cuda`.
        wait_seconds: How long to wait before that is an error.
        max_fraction: Greatest sum of leases, as a share of a GPU's memory.
        headroom_bytes: Free memory that is never leased.
        max_readers_per_gpu: None: as many as fit.
        cores_per_cpu_reader: Fewest cores for one reader on the CPU; decides how many there are.
        idle_seconds: How long an unused reader stays loaded.
        recheck_seconds: How often a reader on the CPU looks for room on a GPU.
        cooldown_seconds: How long a GPU is left alone that ran out of memory with a single frame;
            twice as long each further time.
        poll_seconds: How often one that waits looks.
        drain_seconds: How long released memory stays reserved.
        state_directory: Where processes tell each other of their leases.
    """

    state_directory: Path
    device: DevicePolicy = "auto"
    when_gpu_full: WhenGpuFull = "auto"
    wait_seconds: float = 86_400.0
    max_fraction: float = Limits.max_fraction
    headroom_bytes: int = Limits.headroom_bytes
    max_readers_per_gpu: int | None = Limits.max_leases
    cores_per_cpu_reader: int = 2
    idle_seconds: float = 60.0
    recheck_seconds: float = 5.0
    cooldown_seconds: float = 30.0
    poll_seconds: float = 0.5
    drain_seconds: float = DRAIN_SECONDS

    def __post_init__(self) -> None:
        """Raises ValueError if the wishes contradict each other."""
        if self.device == "cuda" and self.when_gpu_full == "cpu":
            raise ValueError(
                "device `cuda` rules the CPU out, so when_gpu_full cannot be `cpu`; "
                "set it to `wait` or `fail`, or device to `auto`"
            )

    @property
    def overflow(self) -> Literal["cpu", "wait", "fail"]:
        """What is done while no GPU has room; of use only where there is one."""
        if self.when_gpu_full == "auto":
            return "wait" if self.device == "cuda" else "cpu"
        return self.when_gpu_full

    @property
    def gpu_limits(self) -> Limits:
        """For the ledger of a GPU."""
        return Limits(self.max_fraction, self.headroom_bytes, self.max_readers_per_gpu)

    @property
    def cpu_limits(self) -> Limits:
        """For the ledger of the CPU. One reader may always run: it is the last resort."""
        readers = max(host.usable_cores() // self.cores_per_cpu_reader, 1)
        return Limits(max_leases=readers, always_one=True)

    def gpu_ledger(self, gpu: Gpu) -> Ledger:
        """The leases on a GPU."""
        return Ledger(
            self.state_directory,
            gpu.uuid,
            lambda: read_memory(gpu.uuid),
            drain_seconds=self.drain_seconds,
        )

    @property
    def cpu_ledger(self) -> Ledger:
        """The leases on the machine's memory and cores. They do not drain: RAM is free at once."""
        return Ledger(self.state_directory, CPU, host_memory, drain_seconds=0.0)


@dataclass(frozen=True)
class Placed:
    """Room for a reader.

    Attributes:
        device_id: The GPU's UUID, or `cpu`.
        torch_device: PyTorch's name of the device in this process: `cuda:0`, `cpu`.
        label: For people to read: `GPU 0 (NVIDIA L4)`, `the CPU`.
        total_bytes: The device's memory.
        lease: The room.
        limits: What it may grow to.
        ledger: Where it is written down.
    """

    device_id: str
    torch_device: str
    label: str
    total_bytes: int
    lease: Lease
    limits: Limits
    ledger: Ledger


def host_memory() -> Memory:
    """The machine's memory, for readers on the CPU."""
    return Memory(host.total_memory_bytes(), host.available_memory_bytes(), "host")


def place_on_gpu(
    policy: PlacementPolicy,
    sizes_bytes: Sequence[int],
    *,
    excluded: Mapping[str, str] | None = None,
    unusable: Mapping[str, str] | None = None,
    holder: str = "",
) -> Placed:
    """Takes a lease on the GPU with the most memory to be had.

    Args:
        policy: The operator's.
        sizes_bytes: Acceptable sizes, the most wanted first.
        excluded: UUIDs of GPUs to pass over for now, with the reason.
        unusable: UUIDs of GPUs to pass over for good, with the reason.
        holder: What the lease is for, for people to read.

    Raises:
        NoRoomError: None has room; the message has a reason for each.
        StateError: The state directory cannot be used.
    """
    snapshot = take_snapshot()
    passed_over = {**(excluded or {}), **(unusable or {})}
    seen = {gpu.uuid: gpu.label for gpu in snapshot.usable}
    reasons = [f"{seen[uuid]}: {why}" for uuid, why in passed_over.items() if uuid in seen]
    candidates = [gpu for gpu in snapshot.usable if gpu.uuid not in passed_over]
    if len(candidates) > 1:
        candidates.sort(key=lambda gpu: _room_bytes(policy, gpu), reverse=True)
    # One whose memory cannot be read now may have room later.
    unknown = any(gpu.torch_index is not None and gpu.memory is None for gpu in snapshot.gpus)
    never = bool(seen) and not unknown and not seen.keys() & (excluded or {}).keys()
    for gpu in candidates:
        try:
            return _placed_on_gpu(gpu, _take_largest(policy, gpu, sizes_bytes, holder), policy)
        except LeaseRefusedError as refusal:
            never = never and refusal.never
            reasons.append(f"{gpu.label}: {refusal}")
        except NvmlUnavailableError as error:
            never = False
            reasons.append(f"{gpu.label}: {error}")
    raise NoRoomError("; ".join([*reasons, *snapshot.problems]) or "there is no GPU", never=never)


def place_on_cpu(policy: PlacementPolicy, size_bytes: int, holder: str = "") -> Placed:
    """Takes a lease on the machine's memory and a share of its cores.

    Raises:
        NoRoomError: All readers that the cores or the memory allow are taken.
        StateError: The state directory cannot be used.
    """
    ledger = policy.cpu_ledger
    try:
        lease = ledger.take(size_bytes, policy.cpu_limits, holder)
    except LeaseRefusedError as refusal:
        raise NoRoomError(f"the CPU: {refusal}", never=refusal.never) from refusal
    return Placed(CPU, CPU, "the CPU", host.total_memory_bytes(), lease, policy.cpu_limits, ledger)


def threads_per_cpu_reader(ledger: Ledger) -> int:
    """An equal share of the cores for each reader that the CPU's ledger has now, at least 1."""
    return max(host.usable_cores() // max(len(ledger.state().leases), 1), 1)


@contextmanager
def waiting_for_room(
    policy: PlacementPolicy, size_bytes: int, *, unusable: Collection[str] = (), cpu: bool
) -> Iterator[None]:
    """Tells processes with idle readers that this one waits for their memory.

    Args:
        policy: The operator's.
        size_bytes: How much it waits for.
        unusable: UUIDs of GPUs that are of no use to it.
        cpu: Whether a reader on the CPU would do, too.
    """
    gpus = [] if policy.device == "cpu" else take_snapshot().usable
    ledgers = [policy.gpu_ledger(gpu) for gpu in gpus if gpu.uuid not in unusable]
    with ExitStack() as stack:
        for ledger in [*ledgers, *([policy.cpu_ledger] if cpu else [])]:
            stack.callback(ledger.waiting(size_bytes).close)
        yield


def _room_bytes(policy: PlacementPolicy, gpu: Gpu) -> int:
    try:
        return policy.gpu_ledger(gpu).room_bytes(policy.gpu_limits)
    except NvmlUnavailableError:
        return 0  # taking a lease there will say why


def _take_largest(
    policy: PlacementPolicy, gpu: Gpu, sizes_bytes: Sequence[int], holder: str
) -> Lease:
    """A lease of the first of the sizes that is granted.

    Raises:
        LeaseRefusedError: Not even the last one is.
    """
    ledger = policy.gpu_ledger(gpu)
    for size_bytes in sizes_bytes[:-1]:
        with suppress(LeaseRefusedError):
            return ledger.take(size_bytes, policy.gpu_limits, holder)
    return ledger.take(sizes_bytes[-1], policy.gpu_limits, holder)


def _placed_on_gpu(gpu: Gpu, lease: Lease, policy: PlacementPolicy) -> Placed:
    assert gpu.memory is not None
    return Placed(
        gpu.uuid,
        f"cuda:{gpu.torch_index}",
        f"{gpu.label} ({gpu.name})",
        gpu.memory.total_bytes,
        lease,
        policy.gpu_limits,
        policy.gpu_ledger(gpu),
    )
