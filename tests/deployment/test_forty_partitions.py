"""Forty partitions at once, one GPU that somebody else uses as well."""

import datetime as dt
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

from ocr_assets.gpu import host
from tests.deployment import Deployment, wait_until
from tests.deployment.conftest import MakeDays
from tests.fake_nvml import GIB, FakeNvml, allocate
from tests.pipeline import rows

pytestmark = pytest.mark.slow

DAYS = [str(dt.date(2026, 1, 1) + dt.timedelta(days=number)) for number in range(40)]
# The first days, which wait for a slot while the limit is still 1, take so long that all slots are
# taken for a while when there are more, however fast or busy the machine is.
LONG_DAYS = 8
CLIPS = {day: 8 if number < LONG_DAYS else 1 for number, day in enumerate(DAYS)}
ASSETS = ("video_manifest", "sampled_frames", "ocr_boxes", "filtered_dataset")
SIZE = {"width": 640, "height": 360}


@dataclass(frozen=True)
class Sample:
    """The GPU pool at one moment; seconds since the epoch."""

    at: float
    limit: int
    claimed_by: frozenset[str]

    @property
    def claimed(self) -> int:
        return len(self.claimed_by)


class PoolWatch(threading.Thread):
    """Looks at the GPU pool every half second."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__(daemon=True)
        self.samples: list[Sample] = []
        self._deployment = deployment
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.5):
            pool = self._deployment.pool("gpu")
            runs = frozenset(slot["runId"] for slot in pool["claimedSlots"])
            self.samples.append(Sample(time.time(), pool["limit"], runs))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def last(self) -> Sample:
        wait_until(lambda: self.samples != [], "the pool is looked at")
        return self.samples[-1]

    def between(self, start: float, end: float) -> list[Sample]:
        return [sample for sample in self.samples if start <= sample.at <= end]


def spans(deployment: Deployment, run_ids: list[str]) -> list[tuple[float, float]]:
    """When each run's `ocr_boxes` began and ended."""
    found = []
    for run_id in run_ids:
        events: list[dict[str, Any]] = [
            event for event in deployment.events(run_id) if event.get("stepKey") == "ocr_boxes"
        ]
        (start,) = [e for e in events if e["__typename"] == "ExecutionStepStartEvent"]
        (end,) = [e for e in events if e["__typename"] == "ExecutionStepSuccessEvent"]
        found.append((float(start["timestamp"]) / 1000, float(end["timestamp"]) / 1000))
    return found


def test_forty_partitions_at_once_stay_within_a_limit_that_follows_the_memory(
    fake_nvml: FakeNvml, tmp_path: Path, make_days: MakeDays, environment: dict[str, str]
) -> None:
    # Three readers of 6 GiB in 0.9 x 24 GiB, and two on the CPU.
    uuid = fake_nvml.add_gpu(24 * GIB)
    for day, clips in CLIPS.items():
        make_days([day], clips, **SIZE)
    environment |= fake_nvml.environment | {
        "OCR_ASSETS_EASYOCR_MAX_READERS_PER_GPU": "null",
        "OCR_ASSETS_EASYOCR_FOOTPRINT_BYTES": str(6 * GIB),
        "OCR_ASSETS_EASYOCR_CORES_PER_CPU_READER": str(host.usable_cores() // 2),
    }
    with Deployment(tmp_path / "home", environment) as deployment:
        with PoolWatch(deployment) as watch:
            run_ids = [deployment.launch(day, assets=ASSETS) for day in DAYS]
            wait_until(lambda: watch.last().limit == 5, "the limit is 5", 180)
            wait_until(lambda: watch.last().claimed == 5, "all slots are taken", 600)
            hog = allocate(fake_nvml.state, uuid, 12 * GIB)  # leaves room for one
            wait_until(lambda: watch.last().limit == 3, "the limit falls to 3", 180)
            # Dagster does not count steps that had a slot already when the limit fell below them.
            before = watch.last().claimed_by
            wait_until(lambda: not before & watch.last().claimed_by, "those steps have ended", 600)
            fallen = time.time()
            time.sleep(20)
            assert [one for one in watch.between(fallen, time.time()) if one.claimed > 3] == []
            hog.free()
            wait_until(lambda: watch.last().limit == 5, "the limit rises to 5", 180)
            deployment.wait_for(run_ids, 1800)
        runs = deployment.runs(run_ids)
        assert {run["status"] for run in runs.values()} == {"SUCCESS"}
        assert {run["tags"]["ocr_assets/gpu_pool"] for run in runs.values()} == {"gpu"}
        steps = spans(deployment, run_ids)
        assert deployment.pool("gpu")["claimedSlots"] == []
        doctor = deployment.command("doctor", "--json")
    for start, _ in steps:
        running = [begin for begin, end in steps if begin <= start < end]
        limits = [sample.limit for sample in watch.between(min(running) - 10, start + 1)]
        assert len(running) <= max(limits)
    # dagster.yaml's default, before anybody has looked at the GPU; then what fits.
    assert {sample.limit for sample in watch.samples} <= {1, 3, 5}
    assert '"leases": [{' not in doctor.stdout
    for day, clips in CLIPS.items():
        filtered = rows(tmp_path / "data", "filtered_dataset", day)
        assert [row["verdict"] for row in filtered] == ["keep"] * clips
        assert all(row["ocr_area_ratio"][0] > 0.05 for row in filtered)
