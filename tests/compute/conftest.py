"""A cluster of two nodes on this machine, for all tests of this folder that want one."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from ocr_assets.assets.sampled_frames import sampled_frames
from ocr_assets.assets.video_manifest import video_manifest
from ocr_assets.compute.on_ray.detector_pool import POOL_NAME, detector_pool
from tests.clips import write_video
from tests.compute.cluster_runs import (
    CLIPS,
    FAR,
    FRAMES,
    NAMESPACE,
    SOME,
    Run,
    Start,
    connect,
    wait_until,
)
from tests.compute.ray_nodes import RayNodes, ray_nodes
from tests.gpu.fake_detector import GIB
from tests.pipeline import DAY, NEXT_DAY, materialize_day


@pytest.fixture(scope="package")
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


@pytest.fixture(scope="package")
def nodes(tmp_path_factory: pytest.TempPathFactory, nvml_library: Path) -> Iterator[RayNodes]:
    with ray_nodes(tmp_path_factory.mktemp("nodes"), nvml_library) as nodes:
        nodes.start(cpus=2)
        nodes.start(cpus=1, gpu_bytes=(24 * GIB, 8 * GIB))
        yield nodes


@pytest.fixture(scope="package")
def some_videos(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of the clips, others on the second day."""
    folder = tmp_path_factory.mktemp("some")
    for first, day in ((0, DAY), (FAR, NEXT_DAY)):
        (folder / day).mkdir()
        for number in range(first, first + SOME):
            name = f"{number:03d}.mov"
            shutil.copy2(videos / DAY / name, folder / day / name)
    return folder


@pytest.fixture(scope="package")
def sampled_once(some_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("sampled")
    assets = [video_manifest, sampled_frames]
    for day in (DAY, NEXT_DAY):
        materialize_day(some_videos, data, assets=assets, day=day, frames=FRAMES)
    return data


@pytest.fixture
def sampled(sampled_once: Path, tmp_path: Path) -> Path:
    """The frames of some of the clips, on two days."""
    return Path(shutil.copytree(sampled_once, tmp_path / "data"))


@pytest.fixture
def start(nodes: RayNodes) -> Iterator[Start]:
    """Starts a run, and ends it with the test if it has not ended by itself."""
    with contextlib.ExitStack() as runs:

        def begin(data: Path, **options: Any) -> Run:
            run = Run(data, nodes, **options)
            runs.callback(run.kill)
            return run

        yield begin


@pytest.fixture
def no_detectors_are_left(nodes: RayNodes) -> Iterator[None]:
    """Each test begins with none, and with a pool that has seen nothing yet."""
    yield
    connect(nodes)
    pool = detector_pool(NAMESPACE)

    def has_none() -> bool:
        try:
            return not ray.get(pool.state.remote()).detectors
        except ray.exceptions.RayActorError:
            return False  # its node is gone, and it is started again on another

    wait_until(has_none)
    ray.kill(pool)
    wait_until(lambda: POOL_NAME not in ray.util.list_named_actors())
    for node in nodes.nodes:
        node.forget()
    ray.shutdown()
