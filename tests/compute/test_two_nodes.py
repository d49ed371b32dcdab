"""Two Ray nodes on one machine: one with made-up GPUs, one without any."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray

from ocr_assets.assets.sampled_frames import sampled_frames
from ocr_assets.assets.video_manifest import video_manifest
from ocr_assets.compute.on_ray.detector import DetectorState
from ocr_assets.compute.on_ray.detector_pool import PoolState, detector_pool
from ocr_assets.ocr.reader_pool import ReaderPool
from ocr_assets.resources.compute import ComputeResource
from ocr_assets.resources.easyocr import EasyOCRResource
from ocr_assets.resources.tables import Tables
from ocr_assets.tables.checkpoint import read_notes
from tests.clips import write_video
from tests.compute.ray_nodes import ROOT, RayNodes, kill, ray_nodes
from tests.fake_nvml import GIB, allocate
from tests.gpu.fake_detector import FakeLoader
from tests.own_pool import POOLS, OwnPool
from tests.pipeline import DAY, NEXT_DAY, materialize_day, rows

CLIPS = 200
SOME = 40
NAMESPACE = "ocr_assets"
FRAMES = {"part_max_frames": 12}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No two of them alike."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / DAY).mkdir()
    for number in range(CLIPS):
        pictures = [
            np.full((36, 64, 3), (number, frame, number // 2), np.uint8) for frame in range(3)
        ]
        path = folder / DAY / f"{number:03d}.mov"
        write_video(path, pictures, codec="png", pix_fmt="rgb24")
    return folder


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory, nvml_library: Path) -> Iterator[RayNodes]:
    with ray_nodes(tmp_path_factory.mktemp("nodes"), nvml_library) as nodes:
        nodes.start(cpus=2)
        nodes.start(cpus=1, gpu_bytes=(24 * GIB, 8 * GIB))
        yield nodes


def compute(nodes: RayNodes, **fields: Any) -> ComputeResource:
    return ComputeResource(engine="ray", address=nodes.address, **fields)


def easyocr(**fields: Any) -> EasyOCRResource:
    return EasyOCRResource(idle_seconds=2, **fields)


def connect(nodes: RayNodes) -> None:
    ray.init(nodes.address, namespace=NAMESPACE, log_to_driver=False, ignore_reinit_error=True)


@contextlib.contextmanager
def watched(nodes: RayNodes) -> Iterator[list[dict[str, DetectorState]]]:
    """What the detectors say of themselves while the block runs, again and again.

    The block's run takes the connection that there is, and so leaves it.
    """
    connect(nodes)
    states: list[dict[str, DetectorState]] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.2):
            state: PoolState = ray.get(detector_pool(NAMESPACE).state.remote())
            states.append(state.detectors)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield states
    finally:
        stop.set()
        thread.join()
        ray.shutdown()


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture
def sampled(videos: Path, tmp_path: Path) -> Path:
    """The frames of some of the clips, on two days."""
    for day in (DAY, NEXT_DAY):
        folder = tmp_path / "some" / day
        folder.mkdir(parents=True)
        for number in range(SOME):
            name = f"{number:03d}.mov"
            shutil.copy2(videos / DAY / name, folder / name)
        materialize_day(
            tmp_path / "some",
            tmp_path / "data",
            assets=[video_manifest, sampled_frames],
            day=day,
            frames=FRAMES,
        )
    return tmp_path / "data"


class Run:
    """A run in a process of its own."""

    def __init__(
        self,
        data: Path,
        nodes: RayNodes,
        *,
        day: str = DAY,
        address: str | None = None,
        easyocr: dict[str, Any] | None = None,
        compute: dict[str, Any] | None = None,
    ) -> None:
        asked = {
            "videos": "none are needed",
            "data": str(data),
            "day": day,
            "address": address or nodes.address,
            "easyocr": {"idle_seconds": 2} | (easyocr or {}),
            "compute": compute or {},
        }
        self.output = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.compute.run_day", json.dumps(asked)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def kill(self) -> None:
        """As the kernel ends a process that takes too much memory."""
        self.process.kill()
        if not self.output:
            self.output, _ = self.process.communicate()

    def result(self) -> dict[str, Any]:
        """What it says in the end."""
        self.output, _ = self.process.communicate(timeout=180)
        assert self.process.returncode == 0, self.output
        found = re.search(r"^RESULT (.*)$", self.output, re.MULTILINE)
        assert found is not None, self.output
        return json.loads(found[1])


Start = Callable[..., Run]


@pytest.fixture
def start(nodes: RayNodes) -> Iterator[Start]:
    """Starts a run, and ends it with the test if it has not ended by itself."""
    with contextlib.ExitStack() as runs:

        def begin(data: Path, **options: Any) -> Run:
            run = Run(data, nodes, **options)
            runs.callback(run.kill)
            return run

        yield begin


@pytest.fixture(autouse=True)
def no_detectors_are_left(nodes: RayNodes) -> Iterator[None]:
    """Each test begins with none."""
    yield
    connect(nodes)
    pool = detector_pool(NAMESPACE)
    wait_until(lambda: not ray.get(pool.state.remote()).detectors)
    for node in nodes.nodes:
        node.forget()
    ray.shutdown()


def test_a_day_of_200_clips_is_the_same_as_done_here_and_detectors_are_where_there_is_room(
    videos: Path, nodes: RayNodes, tmp_path: Path
) -> None:
    POOLS["here"] = ReaderPool(FakeLoader(tmp_path))
    here = OwnPool(bench="here", device="cpu")
    materialize_day(videos, tmp_path / "here", frames=FRAMES, easyocr=here)
    POOLS.pop("here").close_idle()
    for node in nodes.nodes:
        node.slow(0.1)
    with watched(nodes) as states:
        materialize_day(
            videos, tmp_path / "there", frames=FRAMES, easyocr=easyocr(), compute=compute(nodes)
        )
    for table in ("video_manifest", "sampled_frames", "ocr_boxes", "filtered_dataset"):
        assert content(tmp_path / "there", table) == content(tmp_path / "here", table)
    detected = Counter(row["device"] for row in rows(tmp_path / "there", "ocr_boxes"))
    assert detected["cuda:0"] + detected["cuda:1"] > detected["cpu"] > 0
    most = max(states, key=len).values()
    assert len({one.node_id for one in most if one.on_gpu}) == 1
    assert len({one.node_id for one in most if not one.on_gpu}) == 2
    # Two readers on each GPU (max_readers_per_gpu), one on the two cores of each node.
    loaded = [line.split()[1] for line in nodes.nodes[1].lines() if line.startswith("loaded")]
    assert Counter(loaded) == {"cuda:0": 2, "cuda:1": 2, "cpu": 1}
    assert len(list((nodes.nodes[1].folder / "leases").glob("GPU-*"))) == 2


def test_two_days_at_once_share_the_same_detectors_one_of_them_from_another_host(
    sampled: Path, nodes: RayNodes, start: Start
) -> None:
    for node in nodes.nodes:
        node.slow(0.05)
    runs = [
        start(sampled, day=DAY),
        start(sampled, day=NEXT_DAY, address=nodes.client_address),
    ]
    for run in runs:
        assert run.result()["frames"] == 3 * SOME
    loaded = [line for node in nodes.nodes for line in node.lines() if line.startswith("loaded")]
    assert len(loaded) <= 6  # one for each detector that has room, not for each run
    # What a day has several times is detected once, and what both have by each.
    assert rows_of(sampled, DAY) == rows_of(sampled, NEXT_DAY)


def test_on_a_gpu_that_others_fill_there_is_no_detector(
    sampled: Path, nodes: RayNodes, start: Start
) -> None:
    node = nodes.nodes[1]
    hog = allocate(node.nvml.state, node.gpus[0], 23 * GIB)
    for one in nodes.nodes:
        one.slow(0.1)
    try:
        assert start(sampled).result()["frames"] == 3 * SOME
    finally:
        hog.free()
    loaded = {line.split()[1] for line in node.lines() if line.startswith("loaded")}
    assert loaded - {"cpu"} == {"cuda:1"}


def test_a_detector_that_is_killed_costs_nothing_but_time(
    sampled: Path, nodes: RayNodes, start: Start
) -> None:
    for node in nodes.nodes:
        node.slow(0.2)
    run = start(sampled)
    wait_until(lambda: nodes.nodes[1].lines().count("frame") > 3)
    kill(psutil.Process(nodes.nodes[1].last_process()))
    assert run.result() | {"devices": None} == {"frames": 3 * SOME, "failed": 0, "devices": None}
    assert "its work is done elsewhere" in run.output
    assert [row["error"] for row in rows(sampled, "ocr_boxes")] == [None] * 3 * SOME


def test_videos_that_kill_every_detector_are_quarantined_and_the_others_are_not(
    sampled: Path, nodes: RayNodes, start: Start
) -> None:
    for node in nodes.nodes:
        node.deadly(7)
    result = start(sampled, compute={"max_tries": 2}).result()
    found = rows(sampled, "ocr_boxes")
    given_up = [row for row in found if row["status"] == "worker_died"]
    assert len(given_up) == result["failed"] == FRAMES["part_max_frames"]
    assert all("died 2 times" in row["error"] for row in given_up)
    assert [row["status"] for row in found].count("ok") == len(found) - len(given_up)
    assert result["frames"] == len(found) - len(given_up)
    killed = [line for node in nodes.nodes for line in node.lines() if line == "killed"]
    assert len(killed) == 2


def test_a_run_that_is_killed_is_gone_on_with_and_its_detectors_are_taken_over_or_end(
    sampled: Path, nodes: RayNodes, start: Start
) -> None:
    for node in nodes.nodes:
        node.slow(0.2)
    run = start(sampled)
    # A part that is there is not of use before the run has taken note of it.
    boxes = Tables(root=str(sampled)).ocr_boxes.folder
    wait_until(lambda: any(note.units for note in read_notes(boxes).values()))
    run.kill()
    again = start(sampled)
    assert again.result()["frames"] == 3 * SOME
    assert "frames were done by an earlier try" in again.output
    found = rows(sampled, "ocr_boxes")
    assert len({(row["video_id"], row["frame_index"]) for row in found}) == len(found) == 3 * SOME


def test_other_settings_have_detectors_of_their_own_and_the_old_ones_make_room(
    sampled: Path, nodes: RayNodes, start: Start
) -> None:
    start(sampled, easyocr={"idle_seconds": 600}).result()
    connect(nodes)
    pool = detector_pool(NAMESPACE)
    before = ray.get(pool.state.remote()).detectors
    assert before
    for node in nodes.nodes:
        node.slow(0.2)
    start(sampled, easyocr={"text_threshold": 0.5}).result()
    after = ray.get(pool.state.remote()).detectors
    assert not {one.key for one in before.values()} & {one.key for one in after.values()}


def test_a_host_that_is_gone_costs_nothing_but_time(
    sampled: Path, nodes: RayNodes, start: Start
) -> None:
    third = nodes.start(cpus=1, gpu_bytes=(24 * GIB,))
    for node in nodes.nodes:
        node.slow(0.3)
    run = start(sampled)
    wait_until(lambda: "frame" in third.lines())
    kill(third.raylet)
    assert run.result()["frames"] == 3 * SOME
    nodes.nodes.remove(third)
    third.end()
    found = rows(sampled, "ocr_boxes")
    assert len({(row["video_id"], row["frame_index"]) for row in found}) == len(found) == 3 * SOME
    assert all(row["error"] is None for row in found)


def rows_of(data: Path, day: str) -> list[tuple[Any, ...]]:
    wanted = ("video_id", "frame_index", "boxes", "error")
    return [tuple(row[name] for name in wanted) for row in rows(data, "ocr_boxes", day)]


def content(data: Path, table: str) -> list[dict[str, Any]]:
    changing = {"device", "milliseconds", "file_state"}
    return [
        {name: value for name, value in row.items() if name not in changing}
        for row in rows(data, table)
    ]
