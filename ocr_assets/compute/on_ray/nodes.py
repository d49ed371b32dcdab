"""How many detectors a node of a cluster holds: found out there, by the rule for one machine."""

import dataclasses
import hashlib
import math
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from ocr_assets.gpu.slots import DeviceSlots
from ocr_assets.ocr.detector_settings import DetectorSettings
from ocr_assets.ocr.reader_pool import shared_pool

# Ray counts GPUs in steps of this size.
STEP = 10_000


@dataclass(frozen=True)
class DetectorSpec:
    """What detectors are to be like; those of equal ones are shared.

    Attributes:
        settings: What makes one.
        version: Of this package: nodes of another one cannot do the work.
    """

    settings: DetectorSettings
    version: str

    @classmethod
    def of(cls, settings: DetectorSettings) -> "DetectorSpec":
        """The same with this version, and without what the host that asks has for itself."""
        if not settings.is_state_shared:
            policy = dataclasses.replace(settings.policy, state_directory=Path())
            settings = dataclasses.replace(settings, policy=policy)
        return cls(settings, version("ocr-assets"))

    @property
    def key(self) -> str:
        """Short and the same for equal ones."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class NodeSlots:
    """Detectors of one kind on a node.

    Attributes:
        free: How many more there is room for.
        held: How many of ours have a lease.
        at_best: How many there would be room for on one device that nobody else uses.
        share: Share of a device's memory that each takes.
    """

    free: int = 0
    held: int = 0
    at_best: int = 0
    share: float = 0.0

    @property
    def gpus_each(self) -> float:
        """What each asks Ray for, so that Ray puts as many on a GPU as have room there."""
        if self.at_best == 0:
            return 0.0
        by_memory = math.ceil(self.share * STEP) / STEP
        by_count = math.floor(STEP / self.at_best) / STEP
        return min(max(by_memory, by_count), 1.0)


@dataclass(frozen=True)
class NodeFacts:
    """What a node says of itself.

    Attributes:
        version: Of this package there.
        gpu: Room on its GPUs.
        cpu: Room on its CPU; none if the policy rules it out.
        sentence: The same for people.
    """

    version: str
    gpu: NodeSlots
    cpu: NodeSlots
    sentence: str


def holder(*, on_gpu: bool) -> str:
    """What leases of detectors are for; one on a GPU may hold one of the CPU while that is full."""
    return f"ocr_assets detector, {'GPU' if on_gpu else 'CPU'}"


def look(spec: DetectorSpec) -> NodeFacts:
    """Counts what would be admitted on this machine, without taking anything.

    Raises:
        StateError: The state directory cannot be used.
    """
    plan = spec.settings.on_this_host().plan(shared_pool())
    gpus = [_slots(gpu) for gpu in plan.gpus]
    gpu = NodeSlots(
        sum(one.free for one in gpus),
        sum(one.held for one in gpus),
        max((one.at_best for one in gpus), default=0),
        max((one.share for one in gpus), default=0.0),
    )
    cpu = _slots(plan.cpu) if plan.cpu else NodeSlots()
    return NodeFacts(version("ocr-assets"), gpu, cpu, plan.sentence())


def _slots(device: DeviceSlots) -> NodeSlots:
    on_gpu = device.gpu is not None
    total = device.memory.total_bytes if device.memory else 0
    sizes = [*device.sizes_bytes, *(lease.size_bytes for lease in device.state.leases)]
    return NodeSlots(
        max(device.soon - device.held, 0),
        sum(holder(on_gpu=on_gpu) in lease.holder for lease in device.state.leases),
        device.at_best,
        max(sizes) / total if sizes and total else 0.0,
    )
