"""Runs whose work a test's Ray cluster does."""

import contextlib
import datetime as dt
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray

from ocr_assets.compute.boxes_work import BoxesUnit, BoxesWork
from ocr_assets.compute.frames_work import (
    FinishedFrames,
    FramesUnit,
    FramesWork,
    VideoToSample,
)
from ocr_assets.compute.observer import Observer
from ocr_assets.compute.on_ray.detector import DetectorState
from ocr_assets.compute.on_ray.detector_pool import PoolState, detector_pool
from ocr_assets.resources.compute import ComputeResource
from ocr_assets.resources.easyocr import EasyOCRResource
from ocr_assets.resources.tables import Tables
from ocr_assets.tables.partition_writer import PartSize
from ocr_assets.video.limits import VideoLimits
from ocr_assets.video.sampling import SamplingRule
from ocr_assets.video.source_file import Storage
from tests.compute.ray_nodes import ROOT, RayNodes
from tests.fake_nvml import allocate
from tests.gpu.fake_detector import GIB
from tests.pipeline import DAY, rows

CLIPS = 200
SOME = 40
FAR = 100  # from which number on the second day has clips
NAMESPACE = "ocr_assets"
FRAMES = {"part_max_frames": 12}


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


@contextlib.contextmanager
def taken_cores(nodes: RayNodes) -> Iterator[float]:
    """Has all cores that the cluster has now taken while the block runs; how many they are."""
    connect(nodes)
    cores: float = ray.cluster_resources()["CPU"]
    tasks = [_sleep.remote() for _ in range(int(cores))]
    wait_until(lambda: not ray.available_resources().get("CPU"))
    yield cores
    for task in tasks:
        ray.cancel(task, force=True)


@ray.remote(num_cpus=1, max_retries=0)
def _sleep() -> None:
    time.sleep(600)


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


def boxes_of_day(data: Path) -> tuple[BoxesWork, list[BoxesUnit]]:
    """What there is to do for `ocr_boxes` of a day."""
    date, tables = dt.date.fromisoformat(DAY), Tables(root=str(data))
    place = tables.ocr_boxes.replace_units(date, is_shared=True).place
    work = BoxesWork(
        tables.sampled_frames, tables.ocr_boxes, date, place, "key", easyocr().thresholds(), 4
    )
    paths = tables.sampled_frames.parts(date)
    return work, [BoxesUnit(number, path) for number, path in enumerate(paths)]


def sampled_on(
    nodes: RayNodes, videos: Path, data: Path, say: Callable[[str], None]
) -> list[FinishedFrames]:
    """Samples a day's videos, each a unit, without a run around it; what came of them."""
    table = Tables(root=str(data)).sampled_frames
    place = table.replace_units(dt.date.fromisoformat(DAY), is_shared=True).place
    rule, size = SamplingRule(), PartSize()
    work = FramesWork(table, place, size, rule, "key", VideoLimits(), Storage(), 1)
    paths = sorted((videos / DAY).iterdir())
    found = [VideoToSample(f"{number:032x}", str(path)) for number, path in enumerate(paths)]
    units = [FramesUnit(number, (video,)) for number, video in enumerate(found)]
    observer = Observer(lambda count: None, say)
    return [*compute(nodes).workers().sample(work, units, observer)]


def content(data: Path, table: str) -> list[dict[str, Any]]:
    changing = {"device", "milliseconds", "file_state"}
    return [
        {name: value for name, value in row.items() if name not in changing}
        for row in rows(data, table)
    ]


@contextlib.contextmanager
def hogged(nodes: RayNodes) -> Iterator[None]:
    """Somebody else has nearly all of the memory of all GPUs."""
    node = nodes.nodes[1]
    with contextlib.ExitStack() as hogs:
        for uuid, size in zip(node.gpus, (23, 7), strict=True):
            hogs.callback(allocate(node.nvml.state, uuid, size * GIB).free)
        yield
