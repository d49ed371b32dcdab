"""The limits of the pools follow the machine, and leave an operator's limits alone."""

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext

from ocr_assets import settings
from ocr_assets.automation import pool_limits
from ocr_assets.definitions import defs
from ocr_assets.doctor import as_json, diagnose
from ocr_assets.gpu import host
from ocr_assets.gpu.snapshot import take_snapshot
from ocr_assets.gpu.state_directory import StateError
from ocr_assets.pools.limits import Kept, WantedLimit, decode_steps, keep, pin, say, unpin, wanted
from ocr_assets.pools.records import LimitRecord, current_limit, read_record, write_record
from ocr_assets.pools.status import PoolStatus, StepInPool, known_pools, pool_status
from ocr_assets.resources.easyocr import EasyOCRResource
from tests.fake_nvml import GIB, FakeNvml, allocate
from tests.pools.instance import add_run, limit_of, make_home, set_behind_our_back


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def instance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[dg.DagsterInstance]:
    """On both storages, as limits, records and the times of runs are theirs."""
    if request.param == "PostgreSQL":
        url = request.getfixturevalue("postgres_url")
        monkeypatch.setenv(settings.POSTGRES_URL_VARIABLE, url)
    home = make_home(tmp_path / "home")
    monkeypatch.chdir(home)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


@pytest.fixture
def easyocr(tmp_path: Path) -> EasyOCRResource:
    """As many readers of 2 GiB as fit on the GPUs, and none on the CPU."""
    return EasyOCRResource(
        state_directory=str(tmp_path / "state"),
        footprint_bytes=2 * GIB,
        max_readers_per_gpu=None,
        when_gpu_full="wait",
    )


def goal(limit: int, pool: str = "gpu") -> WantedLimit:
    return WantedLimit(pool, limit, f"{limit} fit")


def by_sensor(instance: dg.DagsterInstance, limit: int, host_name: str = "node7") -> Kept:
    return keep(instance, goal(limit), "sensor", host_name)


def tick(instance: dg.DagsterInstance, easyocr: EasyOCRResource) -> str:
    """One evaluation of the sensor; what it says."""
    with dg.build_sensor_context(instance=instance, resources={"easyocr": easyocr}) as context:
        said = pool_limits.evaluate_tick(context)
    assert said.run_requests == []
    assert said.skip_message is not None
    return said.skip_message


def test_the_gpu_pools_limit_is_what_the_doctor_says(
    instance: dg.DagsterInstance, fake_nvml: FakeNvml, tmp_path: Path
) -> None:
    for gib in (24, 8):
        fake_nvml.add_gpu(gib * GIB)
    both = EasyOCRResource(state_directory=str(tmp_path / "state"), max_readers_per_gpu=3)
    assert tick(instance, both).startswith(f"gpu 1 -> {limit_of(instance)}: 3 readers on GPU 0 (")
    said = as_json(diagnose(both))
    assert limit_of(instance) == said["slots_now"] > 4
    (status,) = pool_status(instance, ["gpu"])
    assert status.why == said["plan"]


def test_the_limit_falls_when_somebody_takes_memory_and_rises_when_it_is_free_again(
    instance: dg.DagsterInstance, fake_nvml: FakeNvml, easyocr: EasyOCRResource
) -> None:
    uuid = fake_nvml.add_gpu(24 * GIB)
    tick(instance, easyocr)
    assert limit_of(instance) == 10
    with allocate(fake_nvml.state, uuid, 15 * GIB):
        said = tick(instance, easyocr)
        assert limit_of(instance) == 4
    assert said == "gpu 10 -> 4: 4 readers on GPU 0 (24.0 GiB, 9.0 GiB free), 2.0 GiB each"
    assert tick(instance, easyocr).startswith("gpu 4 -> 10: 10 readers on GPU 0")
    assert limit_of(instance) == 10


def test_only_changes_are_said_and_written(
    instance: dg.DagsterInstance,
    fake_nvml: FakeNvml,
    easyocr: EasyOCRResource,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fake_nvml.add_gpu(8 * GIB)
    steps = decode_steps(host.usable_cores())
    assert tick(instance, easyocr).startswith("gpu 1 -> 3: 3 readers on GPU 0")
    records = [read_record(instance, pool) for pool in ("gpu", "decode")]
    for _ in range(2):
        assert tick(instance, easyocr) == f"gpu 3, decode {steps}: unchanged"
    assert [read_record(instance, pool) for pool in ("gpu", "decode")] == records
    assert limit_of(instance, "decode") == steps


@pytest.mark.parametrize(("cores", "steps"), [(1, 1), (2, 1), (3, 1), (4, 2), (64, 2)])
def test_two_steps_decode_at_once_as_each_has_a_process_for_every_core(
    cores: int, steps: int
) -> None:
    assert decode_steps(cores) == steps


def test_one_slot_is_left_where_nothing_fits(
    instance: dg.DagsterInstance, fake_nvml: FakeNvml, easyocr: EasyOCRResource
) -> None:
    uuid = fake_nvml.add_gpu(24 * GIB)
    tick(instance, easyocr)
    with allocate(fake_nvml.state, uuid, 23 * GIB):
        said = tick(instance, easyocr)
    assert limit_of(instance) == 1
    assert said.startswith("gpu 10 -> 1: 0 readers on GPU 0")
    assert said.endswith("; 1 at least (OCR_ASSETS_GPU_POOL_MINIMUM)")


def test_with_a_minimum_of_0_no_step_starts_until_a_reader_fits(
    instance: dg.DagsterInstance,
    fake_nvml: FakeNvml,
    easyocr: EasyOCRResource,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(settings.GPU_POOL_MINIMUM_VARIABLE, "0")
    uuid = fake_nvml.add_gpu(24 * GIB)
    claim = instance.event_log_storage.claim_concurrency_slot
    with allocate(fake_nvml.state, uuid, 23 * GIB):
        tick(instance, easyocr)
        assert limit_of(instance) == 0
        assert not claim("gpu", "a" * 32, "ocr_boxes").is_claimed
    tick(instance, easyocr)
    assert claim("gpu", "a" * 32, "ocr_boxes").is_claimed


@pytest.mark.parametrize("text", ["-1", "some", "1.5"])
def test_a_minimum_that_is_no_whole_number_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(settings.GPU_POOL_MINIMUM_VARIABLE, text)
    with pytest.raises(settings.SettingError, match=f"OCR_ASSETS_GPU_POOL_MINIMUM='{text}' is not"):
        settings.gpu_pool_minimum()


def test_memory_that_drains_does_not_make_the_limit_dip(
    instance: dg.DagsterInstance, fake_nvml: FakeNvml, easyocr: EasyOCRResource
) -> None:
    fake_nvml.add_gpu(8 * GIB)
    tick(instance, easyocr)
    assert limit_of(instance) == 3
    policy = easyocr.policy()
    ledger = policy.gpu_ledger(take_snapshot().gpus[0])
    ledger.take(2 * GIB, policy.gpu_limits).release()
    plan = easyocr.plan()
    assert (plan.slots_now, plan.slots_soon) == (2, 3)
    assert tick(instance, easyocr).startswith("gpu 3, decode ")
    assert "; 3 when given back memory is free" in wanted(easyocr)[0].why


def test_without_a_driver_the_limit_is_the_cpus_and_the_reason_is_said(
    instance: dg.DagsterInstance, fake_nvml: FakeNvml, easyocr: EasyOCRResource
) -> None:
    fake_nvml.set_init_error(9)
    gpu, _ = wanted(easyocr)
    assert gpu.limit == easyocr.plan().slots_now >= 1
    assert "on the CPU; no NVIDIA driver on this machine" in gpu.why
    assert tick(instance, easyocr).startswith("gpu ")


def test_a_state_directory_that_cannot_be_used_fails_the_tick_and_changes_nothing(
    instance: dg.DagsterInstance, fake_nvml: FakeNvml, easyocr: EasyOCRResource, tmp_path: Path
) -> None:
    fake_nvml.add_gpu(24 * GIB)
    (tmp_path / "state").mkdir(mode=0o755)
    set_behind_our_back(instance, 7)
    with pytest.raises(StateError, match="chmod 700"):
        tick(instance, easyocr)
    assert limit_of(instance) == 7
    assert limit_of(instance, "decode") == 1


def test_pools_of_one_name_have_the_limit_of_the_gpu(
    easyocr: EasyOCRResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(settings.DECODE_POOL_VARIABLE, "gpu")
    assert [limit.pool for limit in wanted(easyocr)] == ["gpu"]


def test_on_a_cluster_the_limits_are_how_many_steps_may_share_it(
    instance: dg.DagsterInstance, easyocr: EasyOCRResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCR_ASSETS_COMPUTE_ENGINE", "ray")
    monkeypatch.setenv("OCR_ASSETS_COMPUTE_STEPS_AT_ONCE", "7")
    said = tick(instance, easyocr)
    assert "7: steps at once on the Ray cluster (steps_at_once of compute)" in said
    assert limit_of(instance) == limit_of(instance, "decode") == 7


def test_an_instance_in_memory_has_no_pools(easyocr: EasyOCRResource) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert "has no pools" in tick(instance, easyocr)


def test_the_sensor_runs_by_itself_every_half_minute() -> None:
    sensor = defs.resolve_sensor_def("pool_limits")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == 30
    assert sensor.description


def test_evaluating_the_sensor_imports_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys, dagster as dg\n"
        "from ocr_assets.definitions import defs, easyocr\n"
        "with dg.DagsterInstance.get() as instance:\n"
        "    context = dg.build_sensor_context(instance, resources={'easyocr': easyocr})\n"
        "    said = defs.resolve_sensor_def('pool_limits').evaluate_tick(context).skip_message\n"
        "heavy = {'torch', 'easyocr', 'av', 'ray', 'torchvision', 'scipy'} & sys.modules.keys()\n"
        "print(sorted(heavy), said)"
    )
    home = make_home(tmp_path / "home")
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=home,
        env={**os.environ, "DAGSTER_HOME": str(home)},
    )
    assert done.stdout.startswith("[] gpu "), done.stderr


def test_a_pinned_limit_is_left_alone_until_it_is_unpinned(instance: dg.DagsterInstance) -> None:
    by_sensor(instance, 3)
    pin(instance, "gpu", 5)
    for source in ("sensor", "sync"):
        kept = keep(instance, goal(2), source, "node7")
        assert (kept.changed, limit_of(instance)) == (False, 5)
        assert kept.sentence().startswith("gpu left at 5: pinned by ")
        assert kept.sentence().endswith("`ocr-assets pools unpin gpu` lets it follow the machine")
    assert say([kept, keep(instance, goal(1, "decode"), "sensor", "node7")]).endswith(
        "follow the machine; decode 1: unchanged"
    )
    unpin(instance, "gpu")
    assert limit_of(instance) == 5
    assert by_sensor(instance, 2).sentence() == "gpu 5 -> 2: 2 fit"


def test_a_pin_must_be_a_limit_that_dagster_takes(instance: dg.DagsterInstance) -> None:
    for limit in (-1, 1001):
        with pytest.raises(ValueError, match=f"a limit of {limit} is not within 0 and 1000"):
            pin(instance, "gpu", limit)
    assert read_record(instance, "gpu") is None
    pin(instance, "gpu", 0)
    assert limit_of(instance) == 0


def test_more_slots_than_dagster_allows_are_cut_to_what_it_allows(
    instance: dg.DagsterInstance,
) -> None:
    assert by_sensor(instance, 5000).limit == limit_of(instance) == 1000
    assert not by_sensor(instance, 5000).changed


def test_a_limit_changed_in_the_web_ui_counts_as_pinned(instance: dg.DagsterInstance) -> None:
    by_sensor(instance, 3)
    by_sensor(instance, 4)
    time.sleep(1)  # runs' times have whole seconds
    for status in (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS):
        add_run(instance, status)
    for limit in (2, 3, 1):  # one that was never ours, the one before, Dagster's default
        set_behind_our_back(instance, limit)
        for source in ("sensor", "sync"):
            kept = keep(instance, goal(4), source, "node7")
            assert limit_of(instance) == limit
            assert "it was set in the web UI or with `dagster instance concurrency" in say([kept])
            assert "counts as pinned; `ocr-assets pools unpin gpu`" in say([kept])
    unpin(instance, "gpu")
    assert by_sensor(instance, 4).changed


def test_a_limit_that_was_there_before_us_counts_as_pinned(instance: dg.DagsterInstance) -> None:
    set_behind_our_back(instance, 2)
    assert by_sensor(instance, 3).left_alone
    assert limit_of(instance) == 2


def test_a_limit_that_was_deleted_is_set_again(instance: dg.DagsterInstance) -> None:
    by_sensor(instance, 3)
    instance.event_log_storage.delete_concurrency_limit("gpu")
    assert by_sensor(instance, 3).sentence() == "gpu 1 -> 3: 3 fit"


def test_a_crash_between_the_record_and_the_limit_does_not_look_like_somebody_else(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_sensor(instance, 3)

    def crash(pool: str, limit: int) -> None:
        raise SystemExit

    with monkeypatch.context() as broken, pytest.raises(SystemExit):
        broken.setattr(instance.event_log_storage, "set_concurrency_slots", crash)
        by_sensor(instance, 5)
    record = read_record(instance, "gpu")
    assert record is not None
    assert (limit_of(instance), record.limit, record.previous) == (3, 5, 3)
    assert pool_status(instance, ["gpu"])[0].set_by.startswith("sensor on node7")
    assert by_sensor(instance, 3).left_alone == ""
    record = read_record(instance, "gpu")
    assert record is not None
    assert (limit_of(instance), record.limit, record.previous) == (3, 3, None)


def test_a_crash_after_the_limit_is_mended_by_the_next_look(instance: dg.DagsterInstance) -> None:
    by_sensor(instance, 3)
    record = read_record(instance, "gpu")
    assert record is not None
    write_record(instance, "gpu", dataclasses.replace(record, previous=1))
    assert not by_sensor(instance, 3).changed
    set_behind_our_back(instance, 1)
    assert by_sensor(instance, 3).left_alone


# On PostgreSQL, Dagster's own context fails instead; ours does neither (`tests/test_executor.py`).
@pytest.mark.parametrize("instance", ["SQLite"], indirect=True)
@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS])
def test_the_default_that_dagster_puts_back_over_ours_is_not_taken_for_an_operators(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus
) -> None:
    run = add_run(instance, status)
    time.sleep(1)  # runs' times have whole seconds
    with InstanceConcurrencyContext(instance, run) as run_context:
        assert run_context.claim("decode", "sampled_frames")  # it reads all limits, this once
        by_sensor(instance, 3)
        by_sensor(instance, 4)
        assert run_context.claim("gpu", "ocr_boxes")
        assert limit_of(instance) == 1
        assert current_limit(instance, "gpu").explicit
        assert by_sensor(instance, 4).sentence() == "gpu 1 -> 4: 4 fit"
        assert limit_of(instance) == 4


def test_a_pool_kept_by_sync_on_another_host_is_left_alone_by_the_sensor(
    instance: dg.DagsterInstance,
) -> None:
    by_sensor(instance, 2)
    assert keep(instance, goal(2), "sync", "node9").sentence() == "gpu 2: unchanged"
    kept = by_sensor(instance, 5)
    assert limit_of(instance) == 2
    assert kept.left_alone.startswith("`ocr-assets pools sync` on node9, 0 s ago; `ocr-assets ")
    assert keep(instance, goal(3), "sync", "node8").changed  # who asks for it, gets it
    assert by_sensor(instance, 5, host_name="node8").changed
    keep(instance, goal(1), "sync", "node9")
    unpin(instance, "gpu")
    assert by_sensor(instance, 5).changed


def test_a_record_of_another_version_is_not_ours(instance: dg.DagsterInstance) -> None:
    by_sensor(instance, 3)
    for text in ("{", "[]", '{"limit": 3}', '{"limit": 3, "source": "robot"}'):
        instance.daemon_cursor_storage.set_cursor_values({"ocr_assets/pool/gpu": text})
        assert read_record(instance, "gpu") is None
        assert by_sensor(instance, 4).left_alone


def test_the_status_names_who_set_the_limit(instance: dg.DagsterInstance) -> None:
    def set_by() -> str:
        return pool_status(instance, ["gpu"])[0].set_by

    assert set_by() == "dagster.yaml's default_limit"
    by_sensor(instance, 3)
    assert set_by() == "sensor on node7, 0 s ago"
    keep(instance, goal(3), "sync", "node9")
    assert set_by() == "`ocr-assets pools sync` on node9, 0 s ago"
    set_behind_our_back(instance, 2)
    assert set_by() == "web UI or dagster CLI"
    write_record(instance, "gpu", LimitRecord(2, "pin", "node7", "anna", time=time.time() - 200))
    assert set_by() == "pinned by anna on node7, 3 min ago"
    unpin(instance, "gpu")
    assert set_by().startswith("unpinned by ")


@pytest.mark.parametrize(
    ("seconds", "text"), [(12, "12 s"), (179, "2 min"), (7300, "2 h"), (200_000, "2 d")]
)
def test_ages_are_told_in_one_unit(seconds: float, text: str) -> None:
    record = LimitRecord(1, "sensor", "node7", time=time.time() - seconds)
    assert record.who() == f"sensor on node7, {text} ago"


def test_a_pool_that_nobody_limits_is_unlimited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make_home(tmp_path / "plain", "telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert pool_status(instance, ["gpu"]) == [PoolStatus("gpu", None, "nobody", "", (), ())]
        unpin(instance, "gpu")
        assert by_sensor(instance, 3).sentence() == "gpu unlimited -> 3: 3 fit"


def test_steps_that_have_and_await_slots_are_counted(instance: dg.DagsterInstance) -> None:
    by_sensor(instance, 1)
    started = dg.DagsterRunStatus.STARTED
    days = [
        {"dagster/partition": "2026-01-30"},
        {
            "dagster/asset_partition_range_start": "2026-01-01",
            "dagster/asset_partition_range_end": "2026-01-07",
        },
    ]
    first, second = (add_run(instance, started, tags).run_id for tags in days)
    third = add_run(instance, started).run_id
    claim = instance.event_log_storage.claim_concurrency_slot
    assert claim("gpu", first, "ocr_boxes").is_claimed
    assert not claim("gpu", second, "ocr_boxes").is_claimed
    assert not claim("gpu", third, "ocr_boxes", priority=1).is_claimed
    gpu, decode = pool_status(instance, ["gpu", "decode"])
    assert gpu.claimed == (StepInPool(first, "ocr_boxes", "2026-01-30"),)
    assert gpu.waiting == (
        StepInPool(third, "ocr_boxes", None),
        StepInPool(second, "ocr_boxes", "2026-01-01...2026-01-07"),
    )
    assert (decode.claimed, decode.waiting) == ((), ())
    by_sensor(instance, 2)
    (gpu,) = pool_status(instance, ["gpu"])
    # The third is assigned the new slot, and takes it when it looks.
    assert [step.run_id for step in gpu.waiting] == [second]
    assert claim("gpu", third, "ocr_boxes").is_claimed
    by_sensor(instance, 1)
    (gpu,) = pool_status(instance, ["gpu"])
    assert (gpu.limit, len(gpu.claimed)) == (1, 2)


def test_the_known_pools_are_ours_and_those_that_have_a_limit(
    instance: dg.DagsterInstance,
) -> None:
    set_behind_our_back(instance, 2, "database")
    assert known_pools(instance) == ["gpu", "decode", "database"]
