"""Sampling videos in Ray tasks."""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeLabelSchedulingStrategy, NotIn

from ocr_assets.compute.frames_work import FinishedFrames, FramesUnit, FramesWork
from ocr_assets.compute.observer import Observer
from ocr_assets.compute.on_ray.dispatch import Answer, Try, WorkerRetiredError
from ocr_assets.compute.on_ray.message_times import MessageTimes
from ocr_assets.compute.ray_environment import OtherVersionError
from ocr_assets.video.limits import VideoLimits
from ocr_assets.video.source_file import Storage
from ocr_assets.video.workers import DecodeWorkers

LEAST_TASKS = 16  # under way or waiting, so that a cluster that grows with its tasks does
LOOK_SECONDS = 10.0
FIRST_MESSAGE_SECONDS, LAST_MESSAGE_SECONDS = 60.0, 600.0
NODE_ID_LABEL = "ray.io/node-id"


@dataclass(frozen=True)
class OtherVersion:
    """What a node answers that has another version of this package, and so begins nothing."""

    node_id: str
    version: str


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
        self._version = version("ocr-assets")
        self._others: set[str] = set()  # nodes of another version
        self._ended_at = time.monotonic()
        self._messages = MessageTimes(FIRST_MESSAGE_SECONDS, LAST_MESSAGE_SECONDS)

    def look_around(self, units_left: int) -> None:
        """See `Workers`.

        Raises:
            OtherVersionError: There is no node with the run's version of this package.
        """
        if time.monotonic() - self._looked_at > LOOK_SECONDS:
            self._looked_at = time.monotonic()
            self._most = max(int(_cores(ray.cluster_resources) * self._units_ahead), LEAST_TASKS)
            if self._others:
                self._refuse_others()
        waited = time.monotonic() - self._ended_at
        if self._messages.is_due(waited):
            self._observer.say(
                f"no decode task has ended for {waited:.0f} s; {self._under_way} are at work or "
                f"wait for a core each: the cluster has {_cores(ray.cluster_resources):g} cores, "
                f"{_cores(ray.available_resources):g} of them free"
            )

    def begin(self, one: Try[FramesUnit]) -> tuple[Any, str] | None:
        """See `Workers`."""
        if self._under_way >= self._most:
            return None
        self._under_way += 1
        task = _decode.options(scheduling_strategy=self._strategy(one))
        return task.remote(self._version, self._work, one.unit), "a decode task"

    def ended(self, who: str, *, died: bool) -> None:
        """See `Workers`."""
        self._under_way -= 1
        self._ended_at = time.monotonic()
        self._messages.start_again()

    def result(self, answer: Answer[FinishedFrames] | OtherVersion) -> FinishedFrames:
        """See `Workers`.

        Raises:
            WorkerRetiredError: The node has another version; it is given nothing more.
        """
        if isinstance(answer, OtherVersion):
            if answer.node_id not in self._others:
                self._others.add(answer.node_id)
                self._observer.say(
                    f"node {answer.node_id[:8]} is given no videos: it has ocr-assets "
                    f"{answer.version}, the run {self._version}"
                )
            self._looked_at = float("-inf")  # to see whether there are others
            raise WorkerRetiredError("its node has another version")
        for message in answer.messages:
            self._observer.say(message)
        return answer.result

    def cancel(self, reference: Any) -> None:
        """See `Workers`."""
        ray.cancel(reference, force=True)

    def _refuse_others(self) -> None:
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        alive = {one["NodeID"] for one in nodes if one["Alive"] and one["Resources"].get("CPU")}
        if not alive - self._others:
            raise OtherVersionError(f"no node of the cluster has ocr-assets {self._version}")

    def _strategy(self, one: Try[FramesUnit]) -> Any:
        if self._others:
            elsewhere = NotIn(*sorted(self._others))  # type: ignore[no-untyped-call]
            return NodeLabelSchedulingStrategy(hard={NODE_ID_LABEL: elsewhere})
        # By preference not where it has died or failed, which nobody says: anywhere else.
        return "SPREAD" if one.avoid else "DEFAULT"


@ray.remote(num_cpus=1, max_retries=0)
def _decode(
    wanted: str, work: FramesWork, unit: FramesUnit
) -> Answer[FinishedFrames] | OtherVersion:
    if version("ocr-assets") != wanted:
        return OtherVersion(ray.get_runtime_context().get_node_id(), version("ocr-assets"))
    messages: list[str] = []
    observer = Observer(lambda count: None, messages.append)
    try:
        (result,) = work.run_with(_decoder(work.limits, work.storage), [unit], observer)
    except BaseException:
        _decoder.cache_clear()  # its process is at work on something that nobody asks for
        raise
    return Answer(result, tuple(messages))


def _cores(resources: Callable[[], dict[str, float]]) -> float:
    return resources().get("CPU", 0.0)


@functools.lru_cache(maxsize=1)
def _decoder(limits: VideoLimits, storage: Storage) -> DecodeWorkers:
    """Kept from task to task; its process ends with this one."""
    return DecodeWorkers(1, limits, storage)
