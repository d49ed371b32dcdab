"""A Ray cluster as the one that does the work."""

import dataclasses
from collections.abc import Iterable, Iterator

from ocr_assets.compute.boxes_work import BoxesUnit, BoxesWork, FinishedBoxes
from ocr_assets.compute.frames_work import FinishedFrames, FramesUnit, FramesWork
from ocr_assets.compute.interface import Detectors
from ocr_assets.compute.observer import Observer
from ocr_assets.compute.on_ray.decoding import DecodeTasks
from ocr_assets.compute.on_ray.dispatch import Dispatch
from ocr_assets.compute.on_ray.shared_detectors import SharedDetectors


class RayCompute:
    """The cluster to which this process is connected."""

    is_shared = True

    def __init__(
        self, *, namespace: str, max_tries: int, max_detectors: int | None, units_ahead: int
    ) -> None:
        """See `ComputeResource`."""
        self._namespace = namespace
        self._max_tries = max_tries
        self._max_detectors = max_detectors
        self._units_ahead = units_ahead

    def sample(
        self, work: FramesWork, units: Iterable[FramesUnit], observer: Observer
    ) -> Iterator[FinishedFrames]:
        """See `Compute`."""
        workers = DecodeTasks(
            dataclasses.replace(work, decode_workers=1), self._units_ahead, observer
        )
        dispatch = Dispatch(workers, units, work.lost, self._max_tries, observer.say)
        for unit, result in dispatch.results():
            observer.advance(len(unit.videos))
            yield result

    def detect(
        self,
        work: BoxesWork,
        units: Iterable[BoxesUnit],
        observer: Observer,
        detectors: Detectors,
        holder: str,
    ) -> Iterator[FinishedBoxes]:
        """See `Compute`."""
        with SharedDetectors(
            work,
            detectors.detector_settings(),
            namespace=self._namespace,
            max_detectors=self._max_detectors,
            units_ahead=self._units_ahead,
            holder=holder,
            observer=observer,
        ) as workers:
            dispatch = Dispatch(workers, units, work.lost, self._max_tries, observer.say)
            for _, result in dispatch.results():
                observer.advance(result.looked_at)
                yield result
