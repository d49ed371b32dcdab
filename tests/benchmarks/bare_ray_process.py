"""The same units of work by our engine and by a plain loop over Ray actors; `scale` runs it.

The actors of the plain loop do the work in two ways: by code that is as short as can be, and by
that of our engine, its pipeline included, without leases and shared detectors.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import ray

from ocr_assets.compute.box_rows import boxes_frame, row_of
from ocr_assets.compute.boxes_work import BoxesUnit, BoxesWork
from ocr_assets.compute.observer import Observer
from ocr_assets.compute.on_ray.detector_pool import detector_pool
from ocr_assets.compute.on_ray.engine import RayCompute
from ocr_assets.ocr.detector_settings import DetectorSettings
from ocr_assets.ocr.reader_pool import shared_pool
from ocr_assets.ocr.session import DetectionSession
from ocr_assets.ocr.thresholds import DetectionThresholds
from ocr_assets.resources.easyocr import EasyOCRResource
from ocr_assets.resources.tables import Tables
from ocr_assets.tables.part import Part
from ocr_assets.video.images import decode_image
from tests.benchmarks.apart import answer
from tests.benchmarks.day_of_parts import DATE, write_day
from tests.benchmarks.null_detector import find

NAMESPACE = "benchmark"
UNITS_AHEAD = 3
BATCH_FRAMES = 4
WAITING = (8, 256, 4096)
WAITS = 20
PLAIN, PIPELINE, ENGINE = "plain loop, shortest code", "plain loop, same work", "engine"
WARM_UP_UNITS = 12
NOBODY = Observer(lambda count: None, lambda text: None)


class PlainDetector:
    """Does the work and nothing else, frame after frame."""

    def detect(self, work: BoxesWork, unit: BoxesUnit) -> Part:
        """Reads the frames of a part, looks for text on them, writes the part of boxes."""
        rows = []
        for frame in work.read_frames(unit):
            boxes = find(decode_image(frame["image"]))
            found = {"boxes": boxes, "ocr_area_ratio": 0.0, "union_area_ratio": 0.0}
            rows.append(row_of(frame) | found | {"device": "cpu", "milliseconds": 1.0})
        return work.place.write(unit.number, boxes_frame(rows))


class PipelineDetector:
    """Does it as our detectors do, unit after unit."""

    def __init__(self, own: DetectorSettings) -> None:
        self._session = DetectionSession(shared_pool(), own.model, own.sizing, own.policy, print)

    def detect(self, work: BoxesWork, unit: BoxesUnit) -> Part:
        """The same with images decoded ahead, in batches."""
        ((part,),) = [one.parts for one in work.run([unit], self._session, NOBODY)]
        return part


def compare(
    actors: int, units: int, frames: int, width: int, height: int, rounds: int
) -> dict[str, Any]:
    """Seconds of both in alternation, and of `ray.wait` by how many answers are waited for.

    Args:
        actors: How many work, on either side; as many cores the cluster has.
        units: Units of a round.
        frames: Frames of a unit.
        width: Of a frame.
        height: Of a frame.
        rounds: How often.
    """
    with TemporaryDirectory() as folder, _cluster(actors):
        tables = Tables(root=folder)
        write_day(tables, units, frames, width, height)
        paths = tables.sampled_frames.parts(DATE)
        todo = [BoxesUnit(number, path) for number, path in enumerate(paths)]
        compute = RayCompute(
            namespace=NAMESPACE, max_tries=3, max_detectors=actors, units_ahead=UNITS_AHEAD
        )
        # Apart, so that those of the loop take no room from ours.
        own, easyocr = (
            EasyOCRResource(
                device="cpu",
                cores_per_cpu_reader=1,
                idle_seconds=3600,
                state_directory=f"{folder}/{name}",
            )
            for name in ("loop", "engine")
        )
        plain = ray.remote(PlainDetector).options(num_cpus=0)
        pipeline = ray.remote(PipelineDetector).options(num_cpus=0)
        loops: dict[str, list[Any]] = {
            PLAIN: [plain.remote() for _ in range(actors)],
            PIPELINE: [pipeline.remote(own.detector_settings()) for _ in range(actors)],
        }

        def results(name: str, work: BoxesWork, units: list[BoxesUnit]) -> Iterator[object]:
            if name == ENGINE:
                return compute.detect(work, units, NOBODY, easyocr, "benchmark")
            return _plain_loop(loops[name], work, units)

        names = [*loops, ENGINE]
        for name in loops:
            _round(tables, partial(results, name), todo[:WARM_UP_UNITS])
        pool = detector_pool(NAMESPACE)
        while len(ray.get(pool.state.remote()).detectors) < actors:
            _round(tables, partial(results, ENGINE), todo)
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for number in range(rounds):
            for name in names if number % 2 == 0 else reversed(names):
                seconds[name].append(_round(tables, partial(results, name), todo))
        return {
            "actors": actors,
            "units": units,
            "frames": frames,
            "seconds": seconds,
            "wait_seconds": _wait_seconds(),
        }


def _round(
    tables: Tables,
    results: Callable[[BoxesWork, list[BoxesUnit]], Iterator[object]],
    units: list[BoxesUnit],
) -> float:
    """Seconds; what is written is committed by nobody."""
    with contextlib.suppress(_NotWantedError), tables.ocr_boxes.replace_units(DATE) as writer:
        work = BoxesWork(
            tables.sampled_frames,
            tables.ocr_boxes,
            DATE,
            writer.place,
            "benchmark",
            DetectionThresholds(),
            BATCH_FRAMES,
        )
        started = time.perf_counter()
        done = sum(1 for _ in results(work, units))
        seconds = time.perf_counter() - started
        assert done == len(units)
        raise _NotWantedError
    return seconds


class _NotWantedError(Exception):
    """Ends a writer without a commit."""


def _plain_loop(actors: list[Any], work: BoxesWork, units: list[BoxesUnit]) -> Iterator[Part]:
    given = ray.put(work)
    waiting = iter(units)
    under_way = {
        actor.detect.remote(given, unit): actor
        for actor, unit in zip(actors * UNITS_AHEAD, waiting, strict=False)
    }
    while under_way:
        (reference, *_), _ = ray.wait([*under_way])
        actor = under_way.pop(reference)
        if (unit := next(waiting, None)) is not None:
            under_way[actor.detect.remote(given, unit)] = actor
        yield ray.get(reference)


def _wait_seconds() -> dict[int, float]:
    """Of looking for the first answer among many that are waited for."""
    found = {}
    for count in WAITING:
        references = [*(_sleep.remote(3600) for _ in range(count - 1)), ray.put(None)]
        started = time.perf_counter()
        for _ in range(WAITS):
            ray.wait(references)
        found[count] = (time.perf_counter() - started) / WAITS
        for reference in references[:-1]:
            ray.cancel(reference, force=True)
    return found


@ray.remote(num_cpus=0, resources={"nowhere": 1}, max_retries=0)
def _sleep(seconds: float) -> None:
    time.sleep(seconds)


@contextlib.contextmanager
def _cluster(cores: int) -> Iterator[None]:
    # One core is left to decode tasks.
    ray.init(num_cpus=cores + 1, namespace=NAMESPACE, include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


if __name__ == "__main__":
    answer(compare)
