"""Two hosts that share one PostgreSQL: code servers with pools of their own, one daemon."""

import datetime as dt
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml

from tests.deployment import LOCATION, PROJECT, Deployment, free_port, kill_tree, wait_until
from tests.deployment.conftest import MakeDays
from tests.deployment.test_operating import START_SENSOR, TODAY, put_video
from tests.deployment.test_recovery import (
    CLIPS,
    DAY,
    ONE_VIDEO_A_PART,
    SIZE,
    finished_parts,
    is_dead,
    retry_of,
    worker,
)
from tests.fake_nvml import GIB, FakeNvml
from tests.pipeline import rows
from tests.postgres import PASSWORD

pytestmark = pytest.mark.slow

LATER_DAY, YESTERDAY = "2026-02-01", str(TODAY - dt.timedelta(days=1))


class Host:
    """A code server with a home, leases and pools of its own; what it starts dies with it."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self.name, self.port = home.name, free_port()
        self.gpu_pool, self.decode_pool = f"{self.name}_gpu", f"{self.name}_decode"
        self.home = home
        home.mkdir()
        shutil.copy(PROJECT / "dagster.yaml", home)
        self._environment = {
            **os.environ,
            **environment,
            "DAGSTER_HOME": str(home),
            "OCR_ASSETS_STATE": str(home / "state"),
            "OCR_ASSETS_GPU_POOL": self.gpu_pool,
            "OCR_ASSETS_DECODE_POOL": self.decode_pool,
        }

    @contextmanager
    def up(self) -> Iterator[None]:
        serve = ["-m", "dagster", "api", "grpc", "-m", "ocr_assets.definitions"]
        where = ["-h", "127.0.0.1", "-p", str(self.port), "--location-name", self.name]
        with (self.home / "server.log").open("ab") as log:
            server = subprocess.Popen(
                [sys.executable, *serve, *where],
                cwd=self.home,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield
        finally:
            kill_tree(server.pid)
            server.wait()


def workspace(*hosts: Host) -> str:
    servers = [
        {"grpc_server": {"host": "127.0.0.1", "port": host.port, "location_name": host.name}}
        for host in hosts
    ]
    return yaml.safe_dump({"load_from": servers})


def limits(deployment: Deployment) -> dict[str, tuple[int, str]]:
    """Of each pool the limit, and why it is that."""
    said = json.loads(deployment.command("pools", "--json").stdout)
    return {pool["pool"]: (pool["limit"], pool["why"]) for pool in said["pools"]}


def test_hosts_that_share_a_postgresql_have_pools_and_lost_runs_of_their_own(
    fake_nvml: FakeNvml,
    tmp_path: Path,
    make_days: MakeDays,
    environment: dict[str, str],
    postgres_url: str,
) -> None:
    for _ in range(2):
        fake_nvml.add_gpu(24 * GIB)
    make_days([DAY, LATER_DAY], CLIPS, **SIZE)
    data = tmp_path / "data"
    shared = environment | {"OCR_ASSETS_POSTGRES_URL": postgres_url}
    left = Host(tmp_path / "left", shared | {"CUDA_VISIBLE_DEVICES": ""})
    right = Host(tmp_path / "right", shared)
    deployment = Deployment(tmp_path / "home", shared, workspace(left, right))
    with ExitStack() as stack, ExitStack() as right_is_up:
        stack.enter_context(left.up())
        right_is_up.enter_context(right.up())
        stack.enter_context(deployment)

        pools = {left.gpu_pool, left.decode_pool, right.gpu_pool, right.decode_pool}
        wait_until(lambda: pools <= limits(deployment).keys(), "both hosts set their limits")
        found = limits(deployment)
        assert "2 readers on GPU 0" in found[right.gpu_pool][1]
        assert "2 readers on GPU 1" in found[right.gpu_pool][1]
        assert "on GPU" not in found[left.gpu_pool][1]
        assert found[right.gpu_pool][0] >= found[left.gpu_pool][0] + 4

        # A run's process is killed on a host that the daemon is not on.
        run_id = deployment.launch(DAY, ONE_VIDEO_A_PART, location=right.name)
        wait_until(lambda: len(finished_parts(data)) >= 1, "a part is done", 120)
        (slot,) = deployment.pool(right.gpu_pool)["claimedSlots"]
        assert slot["runId"] == run_id
        assert deployment.pool(left.gpu_pool)["claimedSlots"] == []
        os.kill(worker(deployment, run_id), signal.SIGKILL)
        deployment.wait_for([run_id], 60)
        retry = retry_of(deployment, run_id)
        assert retry["status"] == "SUCCESS"
        assert "frames were done by an earlier try" in deployment.messages(retry["runId"])

        # That host goes down as a whole, and comes back.
        run_id = deployment.launch(LATER_DAY, ONE_VIDEO_A_PART, location=right.name)
        wait_until(lambda: len(finished_parts(data)) >= 1, "a part is done", 120)
        pid = worker(deployment, run_id)
        right_is_up.close()
        wait_until(lambda: is_dead(pid), "the run's process is dead", 10)
        assert deployment.runs([run_id])[run_id]["status"] == "STARTED"
        right_is_up.enter_context(right.up())
        deployment.wait_for([run_id], 120)
        assert f"its process, {pid}, is gone" in deployment.messages(run_id)
        assert retry_of(deployment, run_id)["status"] == "SUCCESS"
        pool = right.gpu_pool
        wait_until(lambda: deployment.pool(pool)["claimedSlots"] == [], "its slot is free again")
    for day in (DAY, LATER_DAY):
        assert len(rows(data, "filtered_dataset", day)) == CLIPS
    for home in (deployment.home, left.home, right.home):
        assert not (home / ".dagster/storage").exists()
        for log in home.glob("*.log"):
            assert PASSWORD not in log.read_text()


def test_on_postgresql_the_daemon_runs_what_a_sensor_asks_for(
    tmp_path: Path, environment: dict[str, str], postgres_url: str
) -> None:
    videos = tmp_path / "videos" / YESTERDAY
    videos.mkdir(parents=True)
    put_video(videos / "in_time.mp4", 3)
    variables = environment | {"OCR_ASSETS_POSTGRES_URL": postgres_url}
    with Deployment(tmp_path / "home", variables) as deployment:
        run_id = deployment.launch(YESTERDAY)
        deployment.wait_for([run_id])
        put_video(videos / "late.mp4", 4)
        selector = {**LOCATION, "sensorName": "late_videos"}
        deployment.graphql(START_SENSOR, selector=selector)
        wait_until(lambda: len(deployment.runs()) > 1, "the sensor requests a run")
        deployment.wait_for(deployment.runs())
        assert [run["status"] for run in deployment.runs().values()] == ["SUCCESS"] * 2
    assert len(rows(tmp_path / "data", "filtered_dataset", YESTERDAY)) == 2
    assert not (tmp_path / "home/.dagster/storage").exists()
