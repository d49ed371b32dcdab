"""The limits of Dagster's concurrency pools follow the machine.

```python
for limit in wanted(easyocr, compute):
    print(keep(instance, limit, "sync", this_host()).sentence())
```

`ocr_boxes` claims a slot of the GPU pool: there are as many as readers fit now. `sampled_frames`
claims one of the decode pool: there are one or two, as each step decodes with a process a core. On
a Ray cluster steps share what there is, and both pools have as many slots as the resource `compute`
says. An operator's own limit is left alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import dagster as dg
from dagster._utils.concurrency import get_max_concurrency_limit_value

from ocr_assets import settings
from ocr_assets.gpu import host
from ocr_assets.pools.records import (
    CurrentLimit,
    LimitRecord,
    current_limit,
    is_ours,
    read_record,
    set_limit,
    write_record,
)
from ocr_assets.resources.compute import ComputeResource
from ocr_assets.resources.easyocr import EasyOCRResource

MOST_DECODE_STEPS = 2
WHY_SO_FEW = (
    "half of {} cores, two steps at most: one decodes with a process a core while the other one "
    "reads or commits"
)


@dataclass(frozen=True)
class WantedLimit:
    """What a pool's limit should be.

    Attributes:
        pool: Its name.
        limit: Slots, 0 or more.
        why: For people.
    """

    pool: str
    limit: int
    why: str


@dataclass(frozen=True)
class Kept:
    """What came of keeping a pool's limit.

    Attributes:
        pool: Its name.
        limit: What it is now; None: unlimited.
        previous: What it was before.
        why: Why it should be what was wanted.
        left_alone: Why it was not touched; empty if it might be.
    """

    pool: str
    limit: int | None
    previous: int | None
    why: str
    left_alone: str = ""

    @property
    def changed(self) -> bool:
        """Whether the limit is another one now."""
        return self.limit != self.previous

    def sentence(self) -> str:
        """For people: `gpu 1 -> 3: 2 readers on GPU 0 (24.0 GiB, 19.2 GiB free), ...`."""
        if self.left_alone:
            return f"{self.pool} left at {slots(self.limit)}: {self.left_alone}"
        if self.changed:
            return f"{self.pool} {slots(self.previous)} -> {slots(self.limit)}: {self.why}"
        return f"{self.pool} {slots(self.limit)}: unchanged"


def wanted(easyocr: EasyOCRResource, compute: ComputeResource | None = None) -> list[WantedLimit]:
    """What the limits should be on this machine, as it is now.

    Args:
        easyocr: What a detector takes.
        compute: Who does the work; by default this machine.

    Raises:
        StateError: The state directory cannot be used.
        SettingError: An environment variable makes no sense.
    """
    gpu, decode = settings.gpu_pool(), settings.decode_pool()
    if compute is not None and compute.engine == "ray":
        why = "steps at once on the Ray cluster (steps_at_once of compute)"
        return [WantedLimit(pool, compute.steps_at_once, why) for pool in sorted({gpu, decode})]
    limits = [_wanted_for_readers(gpu, easyocr)]
    if decode != gpu:
        cores = host.usable_cores()
        limits.append(WantedLimit(decode, decode_steps(cores), WHY_SO_FEW.format(cores)))
    return limits


def decode_steps(cores: int) -> int:
    """How many steps that decode make use of so many cores."""
    return min(MOST_DECODE_STEPS, max(cores // 2, 1))


def keep(
    instance: dg.DagsterInstance,
    goal: WantedLimit,
    source: Literal["sensor", "sync"],
    host_name: str,
) -> Kept:
    """Sets a pool's limit, unless it is somebody else's.

    It is left alone if it is pinned; if an operator has changed it since this project set it; and
    by the sensor, if `pools sync` on another host keeps it.

    Args:
        instance: One that supports pools.
        goal: What the limit should be; at most Dagster's greatest is set.
        source: Who asks for it.
        host_name: Where that runs.
    """
    pool = goal.pool
    current, record = current_limit(instance, pool), read_record(instance, pool)
    left_alone = _why_left_alone(instance, pool, current, record, source, host_name)
    limit = min(goal.limit, get_max_concurrency_limit_value())
    if left_alone:
        return Kept(pool, current.limit, current.limit, goal.why, left_alone)
    new = LimitRecord(limit, source, host_name, why=goal.why).following(record, current)
    if not (current.explicit and current.limit == limit and new.says_the_same_as(record)):
        set_limit(instance, pool, new)
    return Kept(pool, limit, current.limit, goal.why)


def say(kept: Sequence[Kept]) -> str:
    """What changed and what was left alone, for people; if nothing, how things are."""
    news = [one.sentence() for one in kept if one.changed or one.left_alone]
    same = [f"{one.pool} {slots(one.limit)}" for one in kept if not one.left_alone]
    if same and not any(one.changed for one in kept):
        news.append(f"{', '.join(same)}: unchanged")
    return "; ".join(news)


def pin(instance: dg.DagsterInstance, pool: str, limit: int) -> None:
    """Sets a pool's limit, which then stays what it is until `unpin`.

    Raises:
        ValueError: The limit is negative, or greater than Dagster's greatest.
    """
    greatest = get_max_concurrency_limit_value()
    if not 0 <= limit <= greatest:
        raise ValueError(f"a limit of {limit} is not within 0 and {greatest}, Dagster's greatest")
    current, record = current_limit(instance, pool), read_record(instance, pool)
    set_limit(instance, pool, LimitRecord(limit, "pin").following(record, current))


def unpin(instance: dg.DagsterInstance, pool: str) -> None:
    """Lets the sensor, or `pools sync` on any host, set a pool's limit again, whoever set it."""
    current, record = current_limit(instance, pool), read_record(instance, pool)
    new = LimitRecord(current.limit, "unpin").following(record, current)
    write_record(instance, pool, replace(new, previous=None))


def slots(limit: int | None) -> str:
    """A limit for people."""
    return "unlimited" if limit is None else str(limit)


def _wanted_for_readers(pool: str, easyocr: EasyOCRResource) -> WantedLimit:
    plan, minimum = easyocr.plan(), settings.gpu_pool_minimum()
    parts = [plan.sentence()]
    if plan.slots_soon != plan.slots_now:
        parts.append(f"{plan.slots_soon} when given back memory is free")
    if plan.slots_soon < minimum:
        parts.append(f"{minimum} at least ({settings.GPU_POOL_MINIMUM_VARIABLE})")
    return WantedLimit(
        pool, max(plan.slots_soon, minimum), "; ".join([*parts, *plan.snapshot.problems])
    )


def _why_left_alone(
    instance: dg.DagsterInstance,
    pool: str,
    current: CurrentLimit,
    record: LimitRecord | None,
    source: str,
    host_name: str,
) -> str:
    mend = f"`ocr-assets pools unpin {pool}` lets it follow the machine"
    if current.explicit and not (record and is_ours(instance, record, current)):
        return (
            "it was set in the web UI or with `dagster instance concurrency set`, which counts as "
            f"pinned; {mend}"
        )
    if record and record.source == "pin":
        return f"{record.who()}; {mend}"
    if record and record.source == "sync" and source == "sensor" and record.host != host_name:
        return f"{record.who()}; {mend} of the sensor"
    return ""
