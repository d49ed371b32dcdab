"""Whether a run's process lives, asked of real processes."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.launcher.base import WorkerStatus

from ocr_assets.executor import one_process_executor
from ocr_assets.run_launcher import HostRunLauncher, RunProcess
from ocr_assets.settings import PROCESS_TAG


@dg.op
def some_op() -> None: ...


@dg.job(executor_def=one_process_executor)
def some_job() -> None:
    some_op()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    launcher = {"module": "ocr_assets.run_launcher", "class": "HostRunLauncher"}
    with dg.instance_for_test(temp_dir=str(tmp_path), overrides={"run_launcher": launcher}) as made:
        yield made


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield started
    started.kill()
    started.wait()


def started_run(instance: dg.DagsterInstance, pid: int, **changes: Any) -> dg.DagsterRun:
    """A run whose executor has written down its process, but for some changes."""
    run = instance.create_run_for_job(some_job, status=dg.DagsterRunStatus.STARTED)
    process = RunProcess.of(run.run_id, pid)
    assert process is not None
    instance.add_run_tags(run.run_id, dataclasses.replace(process, **changes).as_tag())
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> WorkerStatus:
    launcher = instance.run_launcher
    assert isinstance(launcher, HostRunLauncher)
    assert launcher.supports_check_run_worker_health
    return launcher.check_run_worker_health(run).status


def test_a_run_fails_when_its_process_is_killed(
    instance: dg.DagsterInstance, process: subprocess.Popen[bytes]
) -> None:
    run = started_run(instance, process.pid)
    assert status(instance, run) == WorkerStatus.RUNNING
    process.kill()
    deadline = time.monotonic() + 10
    while status(instance, run) == WorkerStatus.RUNNING:  # a zombie, until it is waited for
        assert time.monotonic() < deadline
    process.wait()
    assert status(instance, run) == WorkerStatus.FAILED
    said = instance.run_launcher.check_run_worker_health(run).msg
    assert f"its process, {process.pid}, is gone" in str(said)


@pytest.mark.parametrize("changes", [{"ticks": 1}, {"boot": "another start of the host"}])
def test_a_process_that_only_got_the_number_of_the_runs_is_not_taken_for_it(
    instance: dg.DagsterInstance, process: subprocess.Popen[bytes], changes: dict[str, Any]
) -> None:
    run = started_run(instance, process.pid, **changes)
    assert status(instance, run) == WorkerStatus.FAILED


@pytest.mark.parametrize(
    "changes", [{"host": "another-host"}, {"namespace": 1}, {"run_id": "the run that this retries"}]
)
def test_of_processes_that_cannot_be_seen_from_here_nothing_is_claimed(
    instance: dg.DagsterInstance, process: subprocess.Popen[bytes], changes: dict[str, Any]
) -> None:
    run = started_run(instance, process.pid, **changes)
    process.kill()
    process.wait()
    assert status(instance, run) == WorkerStatus.RUNNING


def test_a_run_that_has_not_said_which_process_it_has_is_left_alone(
    instance: dg.DagsterInstance,
) -> None:
    assert status(instance, instance.create_run_for_job(some_job)) == WorkerStatus.RUNNING


def test_the_executor_writes_down_its_process(instance: dg.DagsterInstance) -> None:
    result = dg.execute_job(dg.reconstructable(some_job), instance)
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    written = json.loads(run.tags[PROCESS_TAG])
    assert (written["run_id"], written["pid"]) == (result.run_id, os.getpid())
    assert status(instance, run) == WorkerStatus.RUNNING
