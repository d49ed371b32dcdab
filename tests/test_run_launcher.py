"""Whether a run's process lives, asked of real processes."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.launcher.base import WorkerStatus

from ocr_assets import settings
from ocr_assets.run_launcher import CODE_SERVER_TAG, HostRunLauncher

BY_SOCKET = {CODE_SERVER_TAG: json.dumps({"host": "localhost", "socket": "/tmp/socket"})}


@dg.job
def some_job() -> None: ...


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


def started_run(instance: dg.DagsterInstance, pid: int, tags: dict[str, str]) -> dg.DagsterRun:
    run = instance.create_run_for_job(some_job, tags=tags, status=dg.DagsterRunStatus.STARTED)
    # As Dagster's code server reports it.
    instance.report_engine_event(
        f"Started process for run (pid: {pid}).", run, EngineEventData.in_process(pid)
    )
    return run


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> WorkerStatus:
    launcher = instance.run_launcher
    assert isinstance(launcher, HostRunLauncher)
    assert launcher.supports_check_run_worker_health
    return launcher.check_run_worker_health(run).status


@pytest.mark.parametrize("tags", [BY_SOCKET, {settings.HOST_TAG: socket.gethostname()}])
def test_a_run_fails_when_its_process_is_killed(
    instance: dg.DagsterInstance, process: subprocess.Popen[bytes], tags: dict[str, str]
) -> None:
    run = started_run(instance, process.pid, tags)
    assert status(instance, run) == WorkerStatus.RUNNING
    process.kill()
    deadline = time.monotonic() + 10
    while status(instance, run) == WorkerStatus.RUNNING:  # a zombie, until it is waited for
        assert time.monotonic() < deadline
    assert status(instance, run) == WorkerStatus.FAILED
    process.wait()
    assert status(instance, run) == WorkerStatus.FAILED
    said = instance.run_launcher.check_run_worker_health(run).msg
    assert f"its process, {process.pid}, is gone" in str(said)


def test_a_process_that_only_got_the_number_of_the_runs_is_not_taken_for_it(
    instance: dg.DagsterInstance,
    process: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hour_ago = time.time() - 3600
    with monkeypatch.context() as clock:
        clock.setattr(time, "time", lambda: hour_ago)
        run = started_run(instance, process.pid, BY_SOCKET)
    assert status(instance, run) == WorkerStatus.FAILED


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {CODE_SERVER_TAG: json.dumps({"host": "code-server", "port": 4000})},
        {settings.HOST_TAG: "another-host"},
    ],
)
def test_of_runs_elsewhere_nothing_is_claimed(
    instance: dg.DagsterInstance, process: subprocess.Popen[bytes], tags: dict[str, str]
) -> None:
    run = started_run(instance, process.pid, tags)
    process.kill()
    process.wait()
    assert status(instance, run) == WorkerStatus.RUNNING


def test_a_run_that_has_not_said_where_it_runs_is_left_alone(
    instance: dg.DagsterInstance,
) -> None:
    run = instance.create_run_for_job(some_job, tags=BY_SOCKET)
    assert status(instance, run) == WorkerStatus.RUNNING
