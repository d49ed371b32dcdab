"""How many readers fit: the degree of parallelism that everything else asks for.

```python
plan = make_plan(policy, gpu_sizes_bytes=[2 * GIB], cpu_size_bytes=2 * GIB)
plan.slots_now, plan.slots_at_best
print(plan.sentence())
```
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ocr_assets.gpu import host
from ocr_assets.gpu.admission import LedgerState, Limits
from ocr_assets.gpu.placement import PlacementPolicy, host_memory
from ocr_assets.gpu.sizes import gib
from ocr_assets.gpu.snapshot import Gpu, Memory, Snapshot, take_snapshot


@dataclass(frozen=True)
class DeviceSlots:
    """Readers on one device.

    Attributes:
        label: `GPU 0`, `the CPU`.
        gpu: None for the CPU.
        memory: None if it cannot be told.
        held: Readers that are there.
        now: Readers that are there or would be admitted now.
        soon: `now`, once what is draining is free: in a few seconds, if nothing else changes.
        at_best: Readers that would be admitted if nobody else used the device.
        sizes_bytes: What each of the `now` that are not there yet would get.
        state: The device's ledger.
        reason: Why it is that many.
    """

    label: str
    gpu: Gpu | None
    memory: Memory | None
    held: int
    now: int
    soon: int
    at_best: int
    sizes_bytes: tuple[int, ...]
    state: LedgerState
    reason: str


@dataclass(frozen=True)
class Plan:
    """What would run where.

    Attributes:
        snapshot: What the plan is based on.
        gpus: Per GPU that the policy admits and this process can see.
        cpu: None if the policy rules the CPU out.
    """

    snapshot: Snapshot
    gpus: tuple[DeviceSlots, ...]
    cpu: DeviceSlots | None

    @property
    def slots_now(self) -> int:
        """Readers at once, as things are."""
        return sum(device.now for device in self.devices)

    @property
    def slots_soon(self) -> int:
        """Readers at once, as things are when what is draining is free.

        For limits that are set every half minute: a lease that is given back stays reserved for
        some seconds, and they must not dip for that.
        """
        return sum(device.soon for device in self.devices)

    @property
    def slots_at_best(self) -> int:
        """Readers at once, if nobody else used the machine."""
        return sum(device.at_best for device in self.devices)

    @property
    def devices(self) -> tuple[DeviceSlots, ...]:
        """The GPUs, then the CPU if it counts."""
        return (*self.gpus, *([self.cpu] if self.cpu else []))

    def sentence(self) -> str:
        """For people: `2 readers on GPU 0 (24.0 GiB, 19.2 GiB free), 2.0 GiB each; ...`."""
        parts = [_part(device) for device in self.devices]
        return "; ".join(parts) or "no reader anywhere"


def make_plan(policy: PlacementPolicy, gpu_sizes_bytes: Sequence[int], cpu_size_bytes: int) -> Plan:
    """Counts what placement would admit, without taking anything.

    Args:
        policy: The operator's.
        gpu_sizes_bytes: Acceptable sizes of a reader on a GPU, the most wanted first.
        cpu_size_bytes: Size of a reader on the CPU.

    Raises:
        StateError: The state directory cannot be used.
    """
    snapshot = take_snapshot()
    gpus = [] if policy.device == "cpu" else snapshot.usable
    slots = tuple(_gpu_slots(policy, gpu, gpu_sizes_bytes) for gpu in gpus)
    uses_cpu = policy.device == "cpu" or (
        policy.device == "auto" and (policy.overflow == "cpu" or not slots)
    )
    return Plan(snapshot, slots, _cpu_slots(policy, cpu_size_bytes) if uses_cpu else None)


def _gpu_slots(policy: PlacementPolicy, gpu: Gpu, sizes_bytes: Sequence[int]) -> DeviceSlots:
    assert gpu.memory is not None
    limits = policy.gpu_limits
    state = policy.gpu_ledger(gpu).state()
    held = len(state.leases)
    now = _fitting(state.admissible_bytes(gpu.memory, limits), sizes_bytes, limits, held)
    drained = replace(state, draining=())
    soon = _fitting(drained.admissible_bytes(gpu.memory, limits), sizes_bytes, limits, held)
    best = _fitting(limits.at_best_bytes(gpu.memory), sizes_bytes, limits, 0)
    return DeviceSlots(
        gpu.label,
        gpu,
        gpu.memory,
        held,
        held + len(now),
        held + len(soon),
        len(best),
        tuple(now),
        state,
        _reason(gpu.memory, limits, state, len(best), sizes_bytes),
    )


def _cpu_slots(policy: PlacementPolicy, size_bytes: int) -> DeviceSlots:
    memory, limits = host_memory(), policy.cpu_limits
    state = policy.cpu_ledger.state()
    held = len(state.leases)
    now = _fitting(state.admissible_bytes(memory, limits), [size_bytes], limits, held)
    best = _fitting(limits.at_best_bytes(memory), [size_bytes], limits, 0)
    cores = host.usable_cores()
    reason = (
        f"{cores} cores, {policy.cores_per_cpu_reader} or more for a reader; "
        f"{gib(memory.free_bytes)} of memory available, {gib(size_bytes)} for a reader"
    )
    readers = held + len(now)  # soon, too: leases on the CPU do not drain
    return DeviceSlots(
        "the CPU", None, memory, held, readers, readers, len(best), tuple(now), state, reason
    )


def _fitting(room_bytes: int, sizes_bytes: Sequence[int], limits: Limits, held: int) -> list[int]:
    """The leases that would be granted one after the other, each the most wanted that fits."""
    granted: list[int] = []
    while limits.max_leases is None or held + len(granted) < limits.max_leases:
        size_bytes = next((size for size in sizes_bytes if size <= room_bytes), None)
        if size_bytes is None and limits.always_one and held + len(granted) == 0:
            size_bytes = sizes_bytes[-1]
        if size_bytes is None:
            break
        granted.append(size_bytes)
        room_bytes -= size_bytes
    return granted


def _reason(
    memory: Memory, limits: Limits, state: LedgerState, at_best: int, sizes_bytes: Sequence[int]
) -> str:
    parts = [
        f"{gib(memory.free_bytes)} of {gib(memory.total_bytes)} free",
        f"{gib(state.leased_bytes)} of {gib(limits.allowance_bytes(memory))} leased",
        f"{gib(limits.headroom_bytes)} headroom",
        f"{gib(state.admissible_bytes(memory, limits))} to be had",
        f"{' or '.join(gib(size) for size in sizes_bytes)} for a reader",
    ]
    if limits.max_leases is not None and at_best >= limits.max_leases:
        parts.append(f"at most {limits.max_leases} readers (max_readers_per_gpu)")
    if memory.source == "host":
        parts.append("the GPU shares the machine's memory")
    return ", ".join(parts)


def _part(device: DeviceSlots) -> str:
    readers = "1 reader" if device.now == 1 else f"{device.now} readers"
    if device.gpu is None or device.memory is None:
        return f"{readers} on {device.label}"
    sizes = [*(lease.size_bytes for lease in device.state.leases), *device.sizes_bytes]
    texts = [gib(size_bytes) for size_bytes in sizes]
    each = f", {texts[0]} each" if len(set(texts)) == 1 else "".join(f", {text}" for text in texts)
    memory = f"{gib(device.memory.total_bytes)}, {gib(device.memory.free_bytes)} free"
    return f"{readers} on {device.label} ({memory}){each}"
