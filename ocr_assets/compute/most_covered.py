"""Which frames of a day are covered most: one of each of the most covered videos."""

from collections.abc import Iterable
from dataclasses import dataclass

from ocr_assets.ocr.boxes import TextBox

MOST = 6


@dataclass(frozen=True)
class CoveredFrame:
    """A frame and its text; its picture is where it was.

    Attributes:
        ratio: `ocr_area_ratio`.
        video_id: The video's.
        frame_index: Place in the video's sample.
        frames: The part file of `sampled_frames` that has the picture.
        boxes: Its text.
    """

    ratio: float
    video_id: str
    frame_index: int
    frames: str
    boxes: tuple[TextBox, ...]


class MostCovered:
    """Keeps the most covered frames of those that pass by."""

    def __init__(self) -> None:
        """None yet."""
        self._frames: dict[str, CoveredFrame] = {}

    def wants(self, ratio: float, video_id: str) -> bool:
        """Whether a frame of that video, so covered, is among the most covered ones so far."""
        known = self._frames.get(video_id)
        if known is not None:
            return ratio > known.ratio
        return len(self._frames) < MOST or ratio > min(one.ratio for one in self._frames.values())

    def consider(self, frames: Iterable[CoveredFrame]) -> None:
        """Takes those that are among the most covered ones so far."""
        for frame in frames:
            if not self.wants(frame.ratio, frame.video_id):
                continue
            if frame.video_id not in self._frames and len(self._frames) == MOST:
                del self._frames[min(self._frames, key=lambda video: self._frames[video].ratio)]
            self._frames[frame.video_id] = frame

    def in_order(self) -> tuple[CoveredFrame, ...]:
        """The most covered first."""
        return tuple(sorted(self._frames.values(), key=lambda frame: -frame.ratio))
