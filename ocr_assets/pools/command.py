"""`ocr-assets pools`: what the pools' limits are and whose, and changing that."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator

import dagster as dg

from ocr_assets import settings
from ocr_assets.instance import InstanceError, open_instance
from ocr_assets.pools.limits import keep, pin, slots, unpin, wanted
from ocr_assets.pools.records import current_limit, this_host
from ocr_assets.pools.status import PoolStatus, known_pools, pool_status
from ocr_assets.resources.compute import ComputeResource
from ocr_assets.resources.easyocr import EasyOCRResource


def show_pools(*, as_json: bool) -> None:
    """Prints a table of the pools, their steps, and what limits them besides.

    Raises:
        InstanceError: There is no instance with pools.
    """
    with _instance() as instance:
        pools = pool_status(instance, known_pools(instance))
        notes = list(_notes(instance, pools))
    if as_json:
        print(json.dumps({"pools": [dataclasses.asdict(pool) for pool in pools], "notes": notes}))
        return
    _print_table(pools)
    for pool in pools:
        if pool.why:
            print(f"{pool.pool:8} why      {pool.why}")
        for does, steps in (("claimed", pool.claimed), ("waiting", pool.waiting)):
            for step in steps:
                print(
                    f"{pool.pool:8} {does}  {step.run_id[:8]}  {step.step_key}  "
                    f"{step.partition or '-'}"
                )
    for note in notes:
        print(f"note     {note}")


def pin_pool(pool: str, limit: int) -> None:
    """Sets a limit that stays.

    Raises:
        InstanceError: There is no instance with pools.
        ValueError: The limit is negative, or greater than Dagster's greatest.
    """
    with _instance() as instance:
        known = known_pools(instance)
        before = current_limit(instance, pool).limit
        pin(instance, pool, limit)
    print(f"{pool} {slots(before)} -> {limit}, pinned; `ocr-assets pools unpin {pool}` undoes it")
    if pool not in known:
        print(
            f"note: {pool} is a new name, {', '.join(known)} are those in use; "
            "only steps whose asset names that pool are limited by it"
        )


def unpin_pool(pool: str) -> None:
    """Lets a limit follow the machine, whoever set it.

    Raises:
        InstanceError: There is no instance with pools.
        LookupError: There is no such pool.
    """
    with _instance() as instance:
        known = known_pools(instance)
        if pool not in known:
            raise LookupError(f"there is no pool {pool}; there are {', '.join(known)}")
        unpin(instance, pool)
        limit = slots(current_limit(instance, pool).limit)
    if pool in (settings.gpu_pool(), settings.decode_pool()):
        print(
            f"{pool} follows the machine: {limit} until the sensor pool_limits looks next, or "
            "`ocr-assets pools sync`"
        )
    else:
        print(f"{pool} stays at {limit}: it is no pool of this project")


def sync_pools(easyocr: EasyOCRResource, compute: ComputeResource) -> None:
    """Sets the limits to what this machine can do now, and says so.

    Raises:
        InstanceError: There is no instance with pools.
        StateError: The state directory cannot be used.
        SettingError: An environment variable makes no sense.
    """
    with _instance() as instance:
        for goal in wanted(easyocr, compute):
            print(keep(instance, goal, "sync", this_host()).sentence())


@contextlib.contextmanager
def _instance() -> Iterator[dg.DagsterInstance]:
    try:
        instance = open_instance()
    except dg.DagsterError as error:
        raise InstanceError(str(error)) from error
    with instance:
        if not instance.event_log_storage.supports_global_concurrency_limits:
            raise InstanceError(
                "this Dagster instance's storage has no pools; `dagster instance migrate` adds them"
            )
        yield instance


def _notes(instance: dg.DagsterInstance, pools: list[PoolStatus]) -> Iterator[str]:
    """Where the run queue is narrower than the GPU pool, and what to raise."""
    queue = instance.get_concurrency_config().run_queue_config
    pool = next(one for one in pools if one.pool == settings.gpu_pool())
    if queue is None or pool.limit is None:
        return
    setting = "concurrency.runs.max_concurrent_runs"
    queued = [(setting, queue.max_concurrent_runs)] if queue.max_concurrent_runs >= 0 else []
    for limit in queue.tag_concurrency_limits:
        # Without a value it is for all together, with applyLimitPerUniqueValue for each pool.
        value = limit.get("value")
        if limit["key"] == settings.GPU_POOL_TAG and (
            not isinstance(value, str) or value == pool.pool
        ):
            setting = f"the limit of {settings.GPU_POOL_TAG} in concurrency.runs"
            queued.append((f"{setting}.tag_concurrency_limits", limit["limit"]))
    for setting, runs in queued:
        if runs < pool.limit:
            yield (
                f"the run queue lets {runs} runs through at once, and {pool.pool} has "
                f"{pool.limit} slots: runs, not the GPU, are the limit; raise {setting} in "
                "dagster.yaml"
            )


def _print_table(pools: list[PoolStatus]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE)
    table.add_column("pool", overflow="fold")
    table.add_column("limit", no_wrap=True)
    table.add_column("set by", overflow="fold")
    for column in ("claimed", "waiting"):
        table.add_column(column, no_wrap=True)
    for pool in pools:
        counts = (str(len(pool.claimed)), str(len(pool.waiting)))
        table.add_row(Text(pool.pool), slots(pool.limit), Text(pool.set_by), *counts)
    Console().print(table)
