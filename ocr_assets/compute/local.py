"""Work done here: videos are decoded in processes of their own, text is found in this one."""

from collections.abc import Iterable, Iterator

from ocr_assets.compute.boxes_work import BoxesUnit, BoxesWork, FinishedBoxes
from ocr_assets.compute.frames_work import FinishedFrames, FramesUnit, FramesWork
from ocr_assets.compute.interface import Detectors
from ocr_assets.compute.observer import Observer


class LocalCompute:
    """The run's own process, with the detectors that it shares among its steps and partitions."""

    is_shared = False

    def sample(
        self, work: FramesWork, units: Iterable[FramesUnit], observer: Observer
    ) -> Iterator[FinishedFrames]:
        """See `Compute`."""
        return work.run(units, observer)

    def detect(
        self,
        work: BoxesWork,
        units: Iterable[BoxesUnit],
        observer: Observer,
        detectors: Detectors,
        holder: str,
    ) -> Iterator[FinishedBoxes]:
        """See `Compute`."""
        with detectors.session(observer.say, holder) as session:
            yield from work.run(units, session, observer)
