"""What the executor does beyond Dagster's own: bad config, and waiting for pools."""

import contextlib
import errno
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ocr_assets.definitions import defs
from ocr_assets.executor import CONFIGS, PatientConcurrency, one_process_executor
from ocr_assets.settings import PARTITION_TAG, POSTGRES_URL_VARIABLE
from tests.pools.instance import add_run, make_home

POOL, OTHER_RUN, OTHER_STEP = "one_slot", "another-run", "another_step"


@dg.op(pool=POOL)
def pooled() -> None: ...


@dg.job(executor_def=one_process_executor)
def pooled_job() -> None:
    pooled()


def daily_job() -> dg.JobDefinition:
    return defs.resolve_job_def("daily_job")


class Refusing(dg.ConfigurableResource):  # type: ignore[type-arg]
    wish: str = "this and its opposite"

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        raise ValueError("these wishes contradict each other")


class Forgetful(dg.ConfigurableResource):  # type: ignore[type-arg]
    wish: str = "to remember"

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")


@dg.op
def needs_resource(refusing: Refusing) -> None: ...


@dg.job(executor_def=one_process_executor, resource_defs={"refusing": Refusing()})
def resource_job() -> None:
    needs_resource()


@dg.op
def needs_storage(forgetful: Forgetful) -> None: ...


@dg.job(executor_def=one_process_executor, resource_defs={"forgetful": Forgetful()})
def storage_job() -> None:
    needs_storage()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    overrides = {
        "concurrency": {"pools": {"granularity": "op", "default_limit": 1}},
        "run_retries": {
            "enabled": True,
            "max_retries": 3,
            "retry_on_asset_or_op_failure": False,
        },
    }
    with dg.instance_for_test(temp_dir=str(tmp_path), overrides=overrides) as made:
        yield made


def run_a_day(
    instance: dg.DagsterInstance, step: str, config: dict[str, Any]
) -> dg.JobExecutionResult:
    return dg.execute_job(
        dg.reconstructable(daily_job),
        instance,
        run_config={"ops": {step: {"config": config}}},
        tags={PARTITION_TAG: "2026-01-31"},
    )


def refusal(instance: dg.DagsterInstance, result: dg.JobExecutionResult) -> str:
    """Why a run did not begin, which for Dagster is a step's failure, and so not retried."""
    assert not result.success
    assert not [event for event in result.all_events if event.is_step_start]
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["dagster/failure_reason"] == "STEP_FAILURE"
    assert run.tags.get("dagster/will_retry") == "false"
    return str(failure.step_failure_data.error)


def test_a_step_that_waits_for_a_slot_leaves_the_cores_to_others(
    instance: dg.DagsterInstance,
) -> None:
    storage = instance.event_log_storage
    storage.set_concurrency_slots(POOL, 1)
    assert storage.claim_concurrency_slot(POOL, OTHER_RUN, OTHER_STEP).is_claimed
    wait_seconds = 6.0
    threading.Timer(
        wait_seconds, storage.free_concurrency_slot_for_step, args=(OTHER_RUN, OTHER_STEP)
    ).start()
    wall, cores = time.monotonic(), time.thread_time()
    assert dg.execute_job(dg.reconstructable(pooled_job), instance).success
    wall, cores = time.monotonic() - wall, time.thread_time() - cores
    assert wall > wait_seconds
    assert cores < wait_seconds / 2  # Dagster's own executor takes all of them


def test_a_waiting_step_starts_when_the_limit_is_raised(instance: dg.DagsterInstance) -> None:
    storage = instance.event_log_storage
    storage.set_concurrency_slots(POOL, 1)
    assert storage.claim_concurrency_slot(POOL, OTHER_RUN, OTHER_STEP).is_claimed
    threading.Timer(2, storage.set_concurrency_slots, args=(POOL, 2)).start()
    assert dg.execute_job(dg.reconstructable(pooled_job), instance).success
    (claim,) = storage.get_concurrency_info(POOL).claimed_slots
    assert claim.run_id == OTHER_RUN


@pytest.mark.parametrize(
    ("step", "config", "message"),
    [
        ("sampled_frames", {"frame_sample_num": 0}, "frame_sample_num: .*greater than or equal"),
        ("sampled_frames", {"sample_every_seconds": -1.0}, "sample_every_seconds: .*greater than"),
        ("sampled_frames", {"reuse_days": -1}, "reuse_days: .*greater than or equal"),
        ("video_manifest", {"decode_workers": 0}, "decode_workers: .*greater than or equal"),
        ("ocr_boxes", {"reuse_days": 10_000}, "reuse_days: .*less than or equal"),
        ("filtered_dataset", {"min_area_ratio": 0.5, "max_area_ratio": 0.1}, "0.5.*0.1"),
    ],
)
def test_bad_config_fails_before_any_work_and_is_not_retried(
    instance: dg.DagsterInstance, step: str, config: dict[str, Any], message: str
) -> None:
    result = run_a_day(instance, step, config)
    said = refusal(instance, result)
    assert f"the config of {step} is not valid, nothing was done: " in said
    assert re.search(message, said, re.DOTALL)


def test_a_resource_that_refuses_its_config_is_not_retried(instance: dg.DagsterInstance) -> None:
    result = dg.execute_job(dg.reconstructable(resource_job), instance)
    assert "these wishes contradict each other" in refusal(instance, result)


def test_a_resource_that_fails_for_a_moment_is_retried(instance: dg.DagsterInstance) -> None:
    result = dg.execute_job(dg.reconstructable(storage_job), instance)
    assert not result.success
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["dagster/will_retry"] == "true"


def test_config_from_the_environment_is_checked_by_its_value(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAMES_PER_VIDEO", "0")
    config = {"frame_sample_num": {"env": "FRAMES_PER_VIDEO"}}
    result = run_a_day(instance, "sampled_frames", config)
    assert "greater than or equal to 1" in refusal(instance, result)


def test_a_step_whose_slot_is_taken_away_again_still_waits_without_a_core(
    instance: dg.DagsterInstance,
) -> None:
    storage = instance.event_log_storage
    storage.set_concurrency_slots(POOL, 1)
    assert storage.claim_concurrency_slot(POOL, OTHER_RUN, OTHER_STEP).is_claimed

    def raise_and_lower() -> None:
        for _ in range(8):  # between two looks of the step that waits
            storage.set_concurrency_slots(POOL, 2)
            storage.set_concurrency_slots(POOL, 1)
            time.sleep(0.5)
        storage.free_concurrency_slot_for_step(OTHER_RUN, OTHER_STEP)

    threading.Timer(2, raise_and_lower).start()
    cores = time.thread_time()
    assert dg.execute_job(dg.reconstructable(pooled_job), instance).success
    assert time.thread_time() - cores < 3


@pytest.mark.parametrize("storage", ["SQLite", "PostgreSQL"])
def test_runs_that_are_the_first_in_a_pool_at_once_do_not_fail(
    tmp_path: Path,
    storage: str,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if storage == "PostgreSQL":
        url = request.getfixturevalue("postgres_url")
        monkeypatch.setenv(POSTGRES_URL_VARIABLE, url)
    home, together = make_home(tmp_path / "home"), 4
    monkeypatch.chdir(home)
    with contextlib.ExitStack() as stack:
        instances = [
            stack.enter_context(dg.DagsterInstance.from_config(str(home))) for _ in range(together)
        ]
        runs = [add_run(instance, dg.DagsterRunStatus.STARTED) for instance in instances]
        start = threading.Barrier(together)

        def claim(number: int, pool: str) -> bool:
            with PatientConcurrency(instances[number], runs[number]) as concurrency:
                start.wait()
                return concurrency.claim(pool, "ocr_boxes")

        with ThreadPoolExecutor(together) as threads:
            for pool in (f"gpu {number}" for number in range(6)):
                assert True in list(threads.map(claim, range(together), [pool] * together))


def test_a_limit_that_was_set_while_a_run_had_other_things_to_do_is_not_put_back(
    instance: dg.DagsterInstance,
) -> None:
    with PatientConcurrency(instance, add_run(instance, dg.DagsterRunStatus.STARTED)) as run:
        assert run.claim("decode", "sampled_frames")
        instance.event_log_storage.set_concurrency_slots("gpu", 3)
        assert run.claim("gpu", "ocr_boxes")
    assert instance.event_log_storage.get_concurrency_info("gpu").limit == 3


def test_every_step_with_config_is_checked() -> None:
    configured = {
        node.name
        for node in defs.resolve_job_def("daily_job").all_node_defs
        if node.config_schema.as_field().config_type.kind.name == "STRICT_SHAPE"
    }
    assert configured == set(CONFIGS)
