"""Two Ray nodes on one machine: one with made-up GPUs, one without any."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from ocr_assets.compute.on_ray.detector import DetectorState
from ocr_assets.compute.on_ray.detector_pool import PoolState, detector_pool
from ocr_assets.ocr.reader_pool import ReaderPool
from ocr_assets.resources.compute import ComputeResource
from ocr_assets.resources.easyocr import EasyOCRResource
from tests.clips import write_video
from tests.compute.ray_nodes import RayNodes, ray_nodes
from tests.fake_nvml import GIB
from tests.gpu.fake_detector import FakeLoader
from tests.own_pool import POOLS, OwnPool
from tests.pipeline import DAY, materialize_day, rows

CLIPS = 200
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
    assert detected["cuda:0"] > detected["cpu"] > 0
    most = max(states, key=len).values()
    # Two readers on each GPU (max_readers_per_gpu), one on the two cores of each node.
    assert Counter(one.visible_gpus for one in most if one.on_gpu) == {"0": 2, "1": 2}
    assert len({one.node_id for one in most if one.on_gpu}) == 1
    assert len({one.node_id for one in most if not one.on_gpu}) == 2
    loaded = [line.split()[1] for line in nodes.nodes[1].lines() if line.startswith("loaded")]
    assert Counter(loaded) == {"cuda:0": 4, "cpu": 1}
    assert len(list((nodes.nodes[1].folder / "leases").glob("GPU-*"))) == 2


def content(data: Path, table: str) -> list[dict[str, Any]]:
    changing = {"device", "milliseconds", "file_state"}
    return [
        {name: value for name, value in row.items() if name not in changing}
        for row in rows(data, table)
    ]
