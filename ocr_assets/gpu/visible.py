"""Which GPUs CUDA_VISIBLE_DEVICES leaves visible to this process, and in what order.

The rules are those of the CUDA programming guide (environment variables) and of NVIDIA's MIG user
guide (device enumeration): entries are indices, UUIDs or unambiguous beginnings of them; the list
ends at the first entry that names no device; a device named twice empties it; and a process that
sees a MIG instance sees that one device alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ocr_assets.gpu.snapshot import Gpu

VARIABLE = "CUDA_VISIBLE_DEVICES"
ORDER_VARIABLE = "CUDA_DEVICE_ORDER"


@dataclass(frozen=True)
class Visible:
    """The visible devices' UUIDs in PyTorch's order, and what is doubtful about them."""

    uuids: tuple[str, ...]
    problems: tuple[str, ...] = ()


def visible_uuids(gpus: Sequence[Gpu], environment: Mapping[str, str]) -> Visible:
    """Applies CUDA_VISIBLE_DEVICES to the devices in NVML's order.

    Args:
        gpus: All devices, those of one GPU next to each other.
        environment: Where the variables are looked up.
    """
    value = environment.get(VARIABLE)
    if value is None:
        return Visible(_enumerated(list(gpus)))
    entries = [entry.strip() for entry in value.split(",")] if value.strip() else []
    named: list[Gpu] = []
    problems: list[str] = []
    if not entries:
        problems.append(f"{VARIABLE} is empty, which hides every GPU")
    for entry in entries:
        gpu = _named(entry, gpus)
        if gpu is None:
            problems.append(_ended(entry, named))
            break
        if gpu in named:
            problems.append(f"{VARIABLE}={value} names {gpu.label} twice, which hides every GPU")
            named = []
            break
        named.append(gpu)
    by_index = any(entry.isdecimal() for entry in entries[: len(named)])
    if by_index and _order_is_doubtful(gpus, environment):
        problems.append(
            f"{VARIABLE}={value} counts unequal GPUs, fastest first, while NVML counts them by "
            f"bus; set {ORDER_VARIABLE}=PCI_BUS_ID, or name the GPUs by UUID, to be sure which"
        )
    return Visible(_enumerated(named), tuple(problems))


def _named(entry: str, gpus: Sequence[Gpu]) -> Gpu | None:
    if entry.isdecimal():
        # An index counts whole GPUs; of one that is split, CUDA takes the first instance.
        return next((gpu for gpu in gpus if gpu.index == int(entry)), None)
    if len(entry) <= len("GPU-"):
        return None  # too short to be the beginning of one UUID rather than another
    legacy = re.fullmatch(r"MIG-(GPU-[^/]+)/(\d+)/(\d+)", entry)
    if legacy:
        parent, *numbers = legacy.groups()
        instance = (int(numbers[0]), int(numbers[1]))
        found = [gpu for gpu in gpus if gpu.parent_uuid == parent and gpu.instance == instance]
    else:
        found = [gpu for gpu in gpus if gpu.uuid.startswith(entry)]
        if not found:
            found = [gpu for gpu in gpus if (gpu.parent_uuid or "").startswith(entry)][:1]
    return found[0] if len(found) == 1 else None


def _enumerated(named: list[Gpu]) -> tuple[str, ...]:
    instances = [gpu for gpu in named if gpu.instance is not None]
    return tuple(gpu.uuid for gpu in (instances[:1] or named))


def _ended(entry: str, named: Sequence[Gpu]) -> str:
    after = f"after {', '.join(gpu.label for gpu in named)}" if named else "at once"
    if entry == "-1":
        return f"{VARIABLE} ends {after} with -1; the GPUs not named before it are hidden"
    return f"{VARIABLE} ends {after}: {entry!r} is no GPU of this machine"


def _order_is_doubtful(gpus: Sequence[Gpu], environment: Mapping[str, str]) -> bool:
    if environment.get(ORDER_VARIABLE) == "PCI_BUS_ID":
        return False
    return len({gpu.name for gpu in gpus if gpu.instance is None}) > 1
