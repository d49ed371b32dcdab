"""What is killed comes back: a run's process, the daemon, the webserver, all of them at once."""

import datetime as dt
import json
import os
import re
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from ocr_assets.resources.tables import Tables
from tests.deployment import Deployment, kill_tree, wait_until
from tests.deployment.conftest import MakeDays
from tests.fake_nvml import GIB, FakeNvml
from tests.part_files import part_files
from tests.pipeline import materialize_day, rows

pytestmark = pytest.mark.slow

DAY, CLIPS, FRAMES = "2026-01-31", 8, 3
SIZE = {"width": 640, "height": 360}  # the detector takes its time, in which things are killed
ONE_VIDEO_A_PART = {"ops": {"sampled_frames": {"config": {"part_max_frames": FRAMES}}}}


def finished_parts(data: Path) -> list[str]:
    """The parts of boxes that an interrupted step has left, by their names."""
    notes = list((data / "ocr_boxes" / "_unfinished").glob("*.json"))
    units = [unit for note in notes for unit in json.loads(note.read_text())["units"]]
    return [Path(relative).name for _, parts in units for relative, *_ in parts]


def worker(deployment: Deployment, run_id: str) -> int:
    found = re.search(r"Started process for run \(pid: (\d+)\)", deployment.messages(run_id))
    assert found is not None
    return int(found[1])


def is_dead(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE  # nobody waits for it
    except psutil.NoSuchProcess:
        return True


def leases(deployment: Deployment) -> list[Any]:
    doctor = json.loads(deployment.command("doctor", "--json").stdout)
    return [lease for device in doctor["devices"] for lease in device["leases"]]


def boxes(data: Path, day: str) -> list[tuple[Any, ...]]:
    columns = ("video_id", "frame_index", "boxes", "ocr_area_ratio", "error")
    return [tuple(row[column] for column in columns) for row in rows(data, "ocr_boxes", day)]


def retry_of(deployment: Deployment, run_id: str) -> dict[str, Any]:
    """The run that retries another one, once there is one."""

    def retries() -> list[dict[str, Any]]:
        return [run for run in deployment.runs().values() if run["parentRunId"] == run_id]

    wait_until(lambda: retries() != [], "the run is retried", 120)
    (retry,) = retries()
    deployment.wait_for([retry["runId"]], 180)
    return deployment.runs([retry["runId"]])[retry["runId"]]


def assert_taken_up(
    deployment: Deployment, run_id: str, done: list[str], data: Path, undisturbed: Path
) -> None:
    """The retry went on where the run was killed, and its result is as if nothing had been."""
    retry = retry_of(deployment, run_id)
    assert retry["status"] == "SUCCESS"
    said = deployment.messages(retry["runId"])
    assert f"{FRAMES * len(done)} of {FRAMES * CLIPS} frames were done by an earlier try" in said
    assert 'Started execution of step "sampled_frames"' not in said
    parts = part_files(Tables(root=str(data)).ocr_boxes, dt.date.fromisoformat(DAY))
    assert [part.name for part in parts][: len(done)] == done
    # Each part's name has its writer's: those of the killed run, then those of its retry.
    writers = Counter(part.stem.split("-")[3] for part in parts)
    assert list(writers.values()) == [len(done), CLIPS - len(done)]
    assert boxes(data, DAY) == boxes(undisturbed, DAY)
    wait_until(lambda: deployment.pool("gpu")["claimedSlots"] == [], "its slot is free again", 60)
    assert deployment.pool("gpu")["pendingSteps"] == []
    assert leases(deployment) == []


def test_a_killed_run_gives_back_its_slot_and_lease_and_is_retried_from_where_it_was(
    fake_nvml: FakeNvml, tmp_path: Path, make_days: MakeDays, environment: dict[str, str]
) -> None:
    fake_nvml.add_gpu(24 * GIB)
    videos, data = make_days([DAY], CLIPS, **SIZE), tmp_path / "data"
    with Deployment(tmp_path / "home", environment | fake_nvml.environment) as deployment:
        run_id = deployment.launch(DAY, ONE_VIDEO_A_PART)
        wait_until(lambda: len(finished_parts(data)) >= 2, "two parts are done", 120)
        (slot,) = deployment.pool("gpu")["claimedSlots"]
        assert slot == {"runId": run_id, "stepKey": "ocr_boxes"}
        (lease,) = leases(deployment)
        pid = worker(deployment, run_id)
        assert f"process {pid} on" in lease["holder"]
        os.kill(pid, signal.SIGKILL)
        done = finished_parts(data)
        deployment.wait_for([run_id], 60)
        assert deployment.runs([run_id])[run_id]["status"] == "FAILURE"

        materialize_day(videos, tmp_path / "undisturbed", day=DAY)
        assert_taken_up(deployment, run_id, done, data, tmp_path / "undisturbed")


def test_after_the_host_was_restarted_runs_that_were_going_are_retried(
    tmp_path: Path, make_days: MakeDays, environment: dict[str, str]
) -> None:
    videos, data = make_days([DAY], CLIPS, **SIZE), tmp_path / "data"
    with Deployment(tmp_path / "home", environment) as deployment:
        run_id = deployment.launch(DAY, ONE_VIDEO_A_PART)
        wait_until(lambda: len(finished_parts(data)) >= 1, "a part is done", 120)
        pid = worker(deployment, run_id)
        assert deployment.daemon is not None
        assert deployment.webserver is not None
        kill_tree(deployment.daemon.pid)
        kill_tree(deployment.webserver.pid)
        wait_until(lambda: is_dead(pid), "the run's process is dead", 10)
        done = finished_parts(data)
        deployment.webserver.wait()
        deployment.daemon.wait()
        deployment.start_webserver()
        # Nobody was left to say that the run ended, so it goes on for Dagster.
        assert deployment.runs([run_id])[run_id]["status"] == "STARTED"
        deployment.start_daemon()
        deployment.wait_for([run_id], 90)
        assert f"its process, {pid}, is gone" in deployment.messages(run_id)
        materialize_day(videos, tmp_path / "undisturbed", day=DAY)
        assert_taken_up(deployment, run_id, done, data, tmp_path / "undisturbed")


def test_neither_the_daemons_death_nor_the_webservers_loses_a_run(
    tmp_path: Path, make_days: MakeDays, environment: dict[str, str]
) -> None:
    days = [f"2026-01-0{number}" for number in range(1, 7)]
    make_days(days)
    with Deployment(tmp_path / "home", environment) as deployment:
        run_ids = [deployment.launch(day) for day in days[:4]]
        wait_until(lambda: deployment.pool("gpu")["claimedSlots"] != [], "a run detects", 120)
        assert deployment.daemon is not None
        os.kill(deployment.daemon.pid, signal.SIGKILL)
        deployment.daemon.wait()
        run_ids.append(deployment.launch(days[4]))  # queued while there is no daemon
        deployment.start_daemon()
        assert deployment.webserver is not None
        os.kill(deployment.webserver.pid, signal.SIGKILL)
        deployment.webserver.wait()
        deployment.start_webserver()
        run_ids.append(deployment.launch(days[5]))
        deployment.wait_for(run_ids, 300)
        runs = deployment.runs()
        assert {run["status"] for run in runs.values()} == {"SUCCESS"}
        assert set(runs) == set(run_ids)  # and none had to be retried
        assert deployment.pool("gpu")["claimedSlots"] == []
    for day in days:
        assert len(rows(tmp_path / "data", "filtered_dataset", day)) == 1
