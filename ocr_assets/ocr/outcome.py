"""What comes of a frame, and the promise of it."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from ocr_assets.ocr.boxes import TextBox
from ocr_assets.ocr.detector import DetectionError, Found


@dataclass(frozen=True)
class Detected:
    """What was found on one frame.

    Attributes:
        boxes: The text boxes.
        device: PyTorch's name of the device it was found on: `cuda:0`, `cpu`.
        milliseconds: The frame's share of the time that its batch took.
    """

    boxes: list[TextBox]
    device: str
    milliseconds: float


Outcome = Detected | DetectionError


class PendingOutcome:
    """What will have come of one frame."""

    def __init__(self, result: Callable[[], Outcome], work: Future[Found] | None = None) -> None:
        """See the methods.

        Args:
            result: Waits for it.
            work: What is waited for; None if it is known.
        """
        self._result = result
        self._work = work

    def done(self) -> bool:
        """Whether `result` would return at once."""
        return self._work is None or self._work.done()

    def cancel(self) -> None:
        """Nobody will ask for the result; what is not begun need not be."""
        if self._work is not None:
            self._work.cancel()

    def result(self) -> Outcome:
        """Waits for it.

        Raises:
            DeviceFaultError: CUDA is broken in this process.
        """
        return self._result()


def known(outcome: Outcome) -> PendingOutcome:
    """One that need not be waited for."""
    return PendingOutcome(lambda: outcome)
