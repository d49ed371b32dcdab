"""Whether a run's process lives, asked of real processes."""

import contextlib
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

from ocr_assets import run_launcher, run_lock
from ocr_assets.automation import lost_runs
from ocr_assets.executor import one_process_executor
from ocr_assets.run_launcher import HostRunLauncher, RunProcess
from ocr_assets.settings import PROCESS_TAG, STATE_VARIABLE


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


def test_a_process_that_only_got_the_number_of_the_runs_is_not_taken_for_it(
    instance: dg.DagsterInstance, process: subprocess.Popen[bytes]
) -> None:
    run = started_run(instance, process.pid, ticks=1)
    assert status(instance, run) == WorkerStatus.FAILED


@pytest.mark.parametrize(
    ("machines", "expected"),
    [
        (("an id", "an id"), WorkerStatus.FAILED),
        (("an id", "another host's"), WorkerStatus.RUNNING),
        (("", ""), WorkerStatus.RUNNING),  # containers of two hosts may well have one name
    ],
)
def test_another_start_of_the_host_is_told_from_another_host_of_the_same_name(
    instance: dg.DagsterInstance,
    process: subprocess.Popen[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    machines: tuple[str, str],
    expected: WorkerStatus,
) -> None:
    (tmp_path / "machine-id").write_text(machines[0])
    monkeypatch.setattr(run_launcher, "MACHINE", tmp_path / "machine-id")
    run = started_run(instance, process.pid, boot="another start of the host")
    (tmp_path / "machine-id").write_text(machines[1])
    assert status(instance, run) == expected


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


HOLD = """
import sys, time
from ocr_assets import run_lock
with run_lock.held(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own."""
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "state"))
    return tmp_path / "state"


@contextlib.contextmanager
def holding(run_id: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is the run's as far as its file says, until it is killed."""
    command = [sys.executable, "-c", HOLD, run_id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def in_another_container(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """A run whose process cannot be seen from here."""
    return started_run(instance, os.getpid(), host="another-container", boot="?", namespace=1)


def test_who_shares_the_state_folder_sees_that_a_process_has_died_in_another_container(
    instance: dg.DagsterInstance, state: Path
) -> None:
    run = in_another_container(instance)
    with holding(run.run_id) as process:
        assert status(instance, run) == WorkerStatus.RUNNING
        assert run_lock.left_behind() == []
    assert run_lock.left_behind() == [run.run_id]
    assert status(instance, run) == WorkerStatus.FAILED
    said = instance.run_launcher.check_run_worker_health(run).msg
    assert f"its process, {process.pid}, is gone: it was killed" in str(said)


def test_a_host_fails_its_own_lost_runs_and_those_of_no_other(
    instance: dg.DagsterInstance, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, alive, elsewhere = (in_another_container(instance) for _ in range(3))
    monkeypatch.setenv(STATE_VARIABLE, str(state) + "-of-another-host")
    with holding(elsewhere.run_id):
        pass
    assert run_lock.left_behind() == [elsewhere.run_id]
    monkeypatch.setenv(STATE_VARIABLE, str(state))
    with holding(lost.run_id), holding("a run of another instance"):
        pass
    with holding(alive.run_id):
        assert "1 runs of " in tick(instance)
        assert "0 runs of " in tick(instance)
    statuses = [instance.get_run_by_id(run.run_id) for run in (lost, alive, elsewhere)]
    assert [run.status.value for run in statuses if run] == ["FAILURE", "STARTED", "STARTED"]
    assert set(run_lock.left_behind()) == {"a run of another instance", alive.run_id}


def tick(instance: dg.DagsterInstance) -> str:
    """One evaluation of the sensor; what it says."""
    with dg.build_sensor_context(instance=instance) as context:
        said = lost_runs.evaluate_tick(context).skip_message
    assert said is not None
    return said


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
    assert run_lock.left_behind() == []
    assert status(instance, run) == WorkerStatus.RUNNING


def test_a_run_without_a_state_folder_goes_on_and_says_what_that_means(
    instance: dg.DagsterInstance, state: Path
) -> None:
    state.mkdir()
    state.chmod(0o755)
    result = dg.execute_job(dg.reconstructable(some_job), instance)
    assert result.success
    said = [str(event.message) for event in result.all_events]
    (line,) = [line for line in said if "If the process of this run dies" in line]
    assert f"`chmod 700 {state}`" in line
