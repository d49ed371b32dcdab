"""Who does the work of a step, and what it is given.

A unit of work is a reference to what is read from the tables' storage, never frames. Whoever does
it writes its rows as part files beside the table's others and says which they are; the step that
asked for it commits them all at once.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from ocr_assets.compute.boxes_work import BoxesUnit, BoxesWork, FinishedBoxes
from ocr_assets.compute.frames_work import FinishedFrames, FramesUnit, FramesWork
from ocr_assets.compute.observer import Observer
from ocr_assets.ocr.detector_settings import DetectorSettings
from ocr_assets.ocr.session import DetectionSession


class Detectors(Protocol):
    """What detectors are to be like: `EasyOCRResource`."""

    def session(self, say: Callable[[str], None], holder: str = "") -> DetectionSession:
        """A way to one in this process."""

    def detector_settings(self) -> DetectorSettings:
        """The same for other processes."""


class Compute(Protocol):
    """Does units of work, and gives what came of each as it is finished, in any order.

    A unit whose worker dies is done again, elsewhere if there are several, a bounded number of
    times; then its videos are given up with the reason, as rows like any other. Whatever else goes
    wrong is raised: it is no fault of the videos.

    Attributes:
        is_shared: Whether a worker may outlive the step, and write what nobody asks for any more.
    """

    is_shared: bool

    def sample(
        self, work: FramesWork, units: Iterable[FramesUnit], observer: Observer
    ) -> Iterator[FinishedFrames]:
        """Samples frames from videos."""

    def detect(
        self,
        work: BoxesWork,
        units: Iterable[BoxesUnit],
        observer: Observer,
        detectors: Detectors,
        holder: str,
    ) -> Iterator[FinishedBoxes]:
        """Finds text on frames.

        Args:
            work: What is the same for all units.
            units: Taken as there is somebody to do them.
            observer: Takes numbers and messages.
            detectors: What they are to be like.
            holder: What the step is, for people who ask who holds the memory.
        """
