"""Sampling videos in Ray tasks."""

import functools
import time
from typing import Any

import ray

from ocr_assets.compute.frames_work import FinishedFrames, FramesUnit, FramesWork
from ocr_assets.compute.observer import Observer
from ocr_assets.compute.on_ray.dispatch import Try
from ocr_assets.video.limits import VideoLimits
from ocr_assets.video.source_file import Storage
from ocr_assets.video.workers import DecodeWorkers

LEAST_TASKS = 16  # under way or waiting, so that a cluster that grows with its tasks does
LOOK_SECONDS = 10.0

Answer = tuple[FinishedFrames, list[str]]


class DecodeTasks:
    """Tasks of one core each, wherever Ray finds one free."""

    def __init__(self, work: FramesWork, units_ahead: int, observer: Observer) -> None:
        """Begins nothing yet.

        Args:
            work: What is the same for all units.
            units_ahead: Tasks for each core of the cluster that are under way or wait.
            observer: Takes messages.
        """
        self._work = ray.put(work)
        self._units_ahead = units_ahead
        self._observer = observer
        self._under_way = 0
        self._most = LEAST_TASKS
        self._looked_at = float("-inf")

    def look_around(self, units_left: int) -> None:
        """See `Workers`."""
        if time.monotonic() - self._looked_at > LOOK_SECONDS:
            self._looked_at = time.monotonic()
            resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
            cores = resources.get("CPU", 0.0)
            self._most = max(int(cores * self._units_ahead), LEAST_TASKS)

    def begin(self, one: Try[FramesUnit]) -> tuple[Any, str] | None:
        """See `Workers`."""
        if self._under_way >= self._most:
            return None
        self._under_way += 1
        # By preference not where it has died or failed, which nobody says: anywhere else.
        strategy = "SPREAD" if one.avoid else "DEFAULT"
        task = _decode.options(scheduling_strategy=strategy)
        return task.remote(self._work, one.unit), "a decode task"

    def ended(self, who: str, *, died: bool) -> None:
        """See `Workers`."""
        self._under_way -= 1

    def result(self, answer: Answer) -> FinishedFrames:
        """See `Workers`."""
        result, messages = answer
        for message in messages:
            self._observer.say(message)
        return result

    def cancel(self, reference: Any) -> None:
        """See `Workers`."""
        ray.cancel(reference, force=True)


@ray.remote(num_cpus=1, max_retries=0)
def _decode(work: FramesWork, unit: FramesUnit) -> Answer:
    messages: list[str] = []
    observer = Observer(lambda count: None, messages.append)
    try:
        (result,) = work.run_with(_decoder(work.limits, work.storage), [unit], observer)
    except BaseException:
        _decoder.cache_clear()  # its process is at work on something that nobody asks for
        raise
    return result, messages


@functools.lru_cache(maxsize=1)
def _decoder(limits: VideoLimits, storage: Storage) -> DecodeWorkers:
    """Kept from task to task; its process ends with this one."""
    return DecodeWorkers(1, limits, storage)
