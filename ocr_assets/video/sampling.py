"""Which frames of a video are looked at.

```python
for frame in sample_frames("clip.mp4", SamplingRule(frame_sample_num=3)):
    print(frame.timestamp_seconds, frame.rgb.shape)
```
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ocr_assets.reasons import Status
from ocr_assets.video.container import Span, UnreadableVideoError
from ocr_assets.video.frames import DecodedFrame, FrameReader
from ocr_assets.video.limits import VideoLimits
from ocr_assets.video.source_file import SourceFile, as_source

# To be raised when other frames are taken, or pictures are compressed to other bytes or hashed
# otherwise: frames of an earlier version are not reused then.
SAMPLING_VERSION = 1


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
        every = self.sample_every_seconds
        if every is not None and not (every > 0 and math.isfinite(every)):
            raise ValueError(f"sample_every_seconds {every} is not a number above 0")


def sampling_key(rule: SamplingRule) -> str:
    """Equal for what gives equal rows for equal videos: the rule, and the version of the code.

    Returns:
        32 hexadecimal digits (BLAKE2b, 128 bits).
    """
    every = rule.sample_every_seconds
    taken = f"{rule.frame_sample_num} frames" if every is None else f"every {every!r} s"
    text = f"version {SAMPLING_VERSION}: {taken}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


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


def sample_frames(
    path: str | Path | SourceFile, rule: SamplingRule, limits: VideoLimits | None = None
) -> Iterator[SampledFrame]:
    """The frames a rule takes from a video, in order of time.

    Taken is the first frame whose timestamp is at or after the wanted time, else the last one.
    `frame_sample_num` may take one frame twice where the frame rate varies; `sample_every_seconds`
    takes none twice.

    Raises:
        UnreadableVideoError: The file cannot be decoded, or is beyond the limits; frames already
            given stay good.
        MemoryError: There is not enough memory for it.
    """
    limits = limits or VideoLimits()
    source = as_source(path)
    with FrameReader(source, limits, count_frames=not source.is_far) as reader:
        span = reader.span
        if rule.frame_sample_num > span.frame_count / 2:
            span = reader.count_frames()  # there cannot be more samples than frames
        frames = (
            _evenly_spread(reader, span, rule.frame_sample_num)
            if rule.sample_every_seconds is None
            # By way of its text, since 0.1 is meant to be a tenth.
            else _one_every(reader, span, Fraction(str(rule.sample_every_seconds)) / span.time_base)
        )
        for index, frame in enumerate(frames):
            if index >= limits.max_sampled_frames:
                raise UnreadableVideoError(
                    Status.TOO_LARGE,
                    f"more than {limits.max_sampled_frames} frames would be taken from it",
                )
            yield SampledFrame(index, frame.pts, float(frame.pts * span.time_base), frame.rgb())


def evenly_spread_pts(span: Span, number: int) -> list[Fraction]:
    """The timestamps to look for, ascending, in ticks: at most as many as there are frames."""
    number = min(number, span.frame_count)
    if number == 1:
        return [span.start_pts + Fraction(span.duration_pts, 2)]
    return [
        span.start_pts + Fraction(index * span.duration_pts, number - 1) for index in range(number)
    ]


def _evenly_spread(reader: FrameReader, span: Span, number: int) -> Iterator[DecodedFrame]:
    for wanted in evenly_spread_pts(span, number):
        yield reader.first_at_or_after(wanted - span.rounding_pts)


def _one_every(reader: FrameReader, span: Span, step_pts: Fraction) -> Iterator[DecodedFrame]:
    """Goes from frame to frame, so that it ends however fine the step and long the stated span."""
    wanted = Fraction(span.start_pts)
    last: DecodedFrame | None = None
    while wanted < span.start_pts + span.duration_pts:
        frame = reader.first_at_or_after(wanted - span.rounding_pts)
        if last is not None and frame.pts <= last.pts:
            return  # no frame follows
        yield frame
        last = frame
        steps = (frame.pts + span.rounding_pts - span.start_pts) // step_pts + 1
        wanted = span.start_pts + steps * step_pts
