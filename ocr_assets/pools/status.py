"""What a person wants to know of pools: limits, who set them, and who has or awaits a slot."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import dagster as dg
from dagster._utils.concurrency import ClaimedSlotInfo, PendingStepInfo

from ocr_assets import settings
from ocr_assets.partitions import run_span
from ocr_assets.pools.records import CurrentLimit, LimitRecord, is_ours, read_record


@dataclass(frozen=True)
class StepInPool:
    """A step that has a slot or waits for one.

    Attributes:
        run_id: Its run.
        step_key: Its name.
        partition: What the run works on; None: it is no run of partitions.
    """

    run_id: str
    step_key: str
    partition: str | None


@dataclass(frozen=True)
class PoolStatus:
    """A pool as it is.

    Attributes:
        pool: Its name.
        limit: Slots; None: unlimited.
        set_by: Who set the limit, for people.
        why: Why, if this project set it.
        claimed: Steps that have a slot; more than the limit, if that has fallen meanwhile.
        waiting: Steps that wait for one, the next first.
    """

    pool: str
    limit: int | None
    set_by: str
    why: str
    claimed: tuple[StepInPool, ...]
    waiting: tuple[StepInPool, ...]


def known_pools(instance: dg.DagsterInstance) -> list[str]:
    """The pools of this project, then all others that have a limit."""
    others = sorted(pool.name for pool in instance.event_log_storage.get_pool_limits())
    return list(dict.fromkeys([settings.gpu_pool(), settings.decode_pool(), *others]))


def pool_status(instance: dg.DagsterInstance, pools: Iterable[str]) -> list[PoolStatus]:
    """How pools are: limit, who set it, and the steps that have slots or wait for them."""
    infos = instance.event_log_storage.get_concurrency_infos(list(pools))
    claimed = {pool: _named(info.claimed_slots) for pool, info in infos.items()}
    waiting = {pool: _named(_waiting(info.pending_steps)) for pool, info in infos.items()}
    partitions = _partitions(instance, [*claimed.values(), *waiting.values()])
    found = []
    for pool, info in infos.items():
        current = CurrentLimit(info.limit, not info.using_default_limit)
        record = read_record(instance, pool)
        if record is not None and not (current.explicit and is_ours(instance, record, current)):
            record = None
        found.append(
            PoolStatus(
                pool,
                current.limit,
                _set_by(current, record),
                record.why if record else "",
                tuple(StepInPool(run, step, partitions.get(run)) for run, step in claimed[pool]),
                tuple(StepInPool(run, step, partitions.get(run)) for run, step in waiting[pool]),
            )
        )
    return found


def _set_by(current: CurrentLimit, record: LimitRecord | None) -> str:
    if not current.explicit:
        return "nobody" if current.limit is None else "dagster.yaml's default_limit"
    return record.who() if record else "web UI or dagster CLI"


def _waiting(pending: Iterable[PendingStepInfo]) -> list[PendingStepInfo]:
    """Those without a slot, in the order in which Dagster hands slots out."""
    # One that is assigned a slot has it, or takes it the next time it looks.
    unassigned = [step for step in pending if step.assigned_timestamp is None]
    return sorted(unassigned, key=lambda step: (-(step.priority or 0), step.enqueued_timestamp))


def _named(steps: Iterable[ClaimedSlotInfo | PendingStepInfo]) -> list[tuple[str, str]]:
    return [(step.run_id, step.step_key) for step in steps]


def _partitions(
    instance: dg.DagsterInstance, steps: Iterable[list[tuple[str, str]]]
) -> dict[str, str | None]:
    """What each of their runs works on."""
    run_ids = sorted({run_id for run_id, _ in itertools.chain(*steps)})
    runs = instance.get_runs(dg.RunsFilter(run_ids=run_ids)) if run_ids else []
    return {run.run_id: _partition(run.tags) for run in runs}


def _partition(tags: Mapping[str, str]) -> str | None:
    span = run_span(tags)
    return "...".join(dict.fromkeys(span)) if span else None
