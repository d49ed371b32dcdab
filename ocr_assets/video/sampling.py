"""Which frames of a video are looked at.

```python
for frame in sample_frames("clip.mp4", SamplingRule(frame_sample_num=3)):
    print(frame.timestamp_seconds, frame.rgb.shape)
```
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ocr_assets.video.container import Span, measure_span, open_video
from ocr_assets.video.frames import FrameReader


@dataclass(frozen=True)
class SamplingRule:
    """How many frames to take, and where.

    Attributes:
        frame_sample_num: Frames per video, at least 1: 1 takes the middle, 2 the first and the
            last, n > 2 n points evenly spread over the duration, ends included. A video with fewer
            frames gives those it has.
        sample_every_seconds: If given, a frame every so many seconds from the start instead.
    """

    frame_sample_num: int = 3
    sample_every_seconds: float | None = None

    def __post_init__(self) -> None:
        """Refuses a rule that samples nothing."""
        if self.frame_sample_num < 1:
            raise ValueError(f"frame_sample_num {self.frame_sample_num} is below 1")
        if self.sample_every_seconds is not None and not self.sample_every_seconds > 0:
            raise ValueError(f"sample_every_seconds {self.sample_every_seconds} is not above 0")

    def wanted_pts(self, span: Span) -> Iterator[Fraction]:
        """The timestamps to look for, ascending, in ticks of the span's time base."""
        if self.sample_every_seconds is not None:
            step = Fraction(self.sample_every_seconds) / span.time_base
            for index in count():
                offset = index * step
                if offset >= span.duration_pts:
                    return
                yield span.start_pts + offset
        else:
            number = min(self.frame_sample_num, span.frame_count)
            for index in range(number):
                share = Fraction(1, 2) if number == 1 else Fraction(index, number - 1)
                yield span.start_pts + share * span.duration_pts


@dataclass(frozen=True)
class SampledFrame:
    """One frame of a video's sample.

    Attributes:
        index: Place in the sample, from 0.
        pts: Presentation timestamp in ticks of the stream's time base.
        timestamp_seconds: The same in seconds.
        rgb: The upright picture: uint8, (height, width, 3), RGB.
    """

    index: int
    pts: int
    timestamp_seconds: float
    rgb: NDArray[np.uint8]


def sample_frames(path: str | Path, rule: SamplingRule) -> Iterator[SampledFrame]:
    """The frames a rule takes from a video, in order of time.

    Taken is the first frame whose timestamp is at or after the wanted time, else the last one.
    `frame_sample_num` may take one frame twice where the frame rate varies; `sample_every_seconds`
    takes none twice.

    Raises:
        UnreadableVideoError: The file cannot be decoded; frames already given stay good.
    """
    with open_video(path) as video:
        span = measure_span(video)
    with FrameReader(path, span) as reader:
        last_pts: int | None = None
        index = 0
        for wanted in rule.wanted_pts(span):
            decoded = reader.first_at_or_after(wanted - span.rounding_pts)
            if rule.sample_every_seconds is not None and decoded.pts == last_pts:
                continue
            last_pts = decoded.pts
            yield SampledFrame(
                index, decoded.pts, float(decoded.pts * span.time_base), decoded.rgb()
            )
            index += 1
