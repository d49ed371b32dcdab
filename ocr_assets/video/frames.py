"""Decoding the first frame at or after a timestamp, exactly, whatever the container."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ocr_assets.video.container import (
    OpenVideo,
    Span,
    UnreadableVideoError,
    open_video,
)

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream

Array = NDArray[Any]

# Nearer than this, decoding on is cheaper than seeking back to a key frame.
DECODE_ON_SECONDS = 2
# A damaged end longer than this is not overlooked.
DAMAGE_TOLERATED_SECONDS = 1
# How far before the wanted time to look for a key frame; after the last, decode from the start.
SEEK_BACK_SECONDS = (0, 2, 10, 60)


@dataclass(frozen=True)
class DecodedFrame:
    """A decoded frame and its place in time.

    Attributes:
        pts: Presentation timestamp in ticks of the stream's time base.
        frame: PyAV's frame, as stored (not rotated).
    """

    pts: int
    frame: VideoFrame

    def rgb(self) -> NDArray[np.uint8]:
        """The picture as a viewer sees it: uint8, (height, width, 3), RGB."""
        stored = self.frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
        return np.ascontiguousarray(_shown(stored, self.frame))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as a viewer sees it."""
        height, width = _shown(np.empty((self.frame.height, self.frame.width)), self.frame).shape
        return width, height


class FrameReader:
    """Finds frames by time in ascending order; a context manager that keeps the file open.

    Seeking in FFmpeg is a hint: containers without an index land after the wanted time, and
    pictures before the first key frame cannot be decoded. So a seek counts only if it arrived at a
    key frame at or before the wanted time; otherwise the reader goes further back, in the end to
    the start.
    """

    def __init__(self, path: str | Path, span: Span) -> None:
        """Prepares to read; entering the context opens the file."""
        self._path = path
        self._span = span
        self._exits = ExitStack()
        self._video: OpenVideo | None = None
        self._frames: Iterator[DecodedFrame] = iter(())
        self._current: DecodedFrame | None = None
        self._damaged_pts = span.start_pts - 1  # the last timestamp where something was damaged

    def __enter__(self) -> Self:
        """Opens the file."""
        self._rewind()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Closes it."""
        return self._exits.__exit__(exception_type, exception, traceback)

    def first_at_or_after(self, pts: Fraction) -> DecodedFrame:
        """The first frame whose timestamp is at or after `pts`, else the last frame there is.

        Args:
            pts: Ticks of the time base, not before any earlier call's.

        Raises:
            UnreadableVideoError: Not one frame could be decoded, or none of the last second or more
                before `pts`.
        """
        if self._current is None or self._current.pts < pts:
            if self._is_far(pts):
                self._seek(pts)
            for decoded in self._frames:
                self._current = decoded
                if decoded.pts >= pts:
                    return decoded
            self._refuse_damaged_end(pts)
        if self._current is None:
            raise UnreadableVideoError("none of its frames could be decoded")
        return self._current

    def _refuse_damaged_end(self, pts: Fraction) -> None:
        """The last good frame stands for what follows it, but not for long stretches of damage."""
        if self._current is None or self._damaged_pts <= self._current.pts:
            return
        time_base = self._span.time_base
        if (pts - self._current.pts) * time_base > DAMAGE_TOLERATED_SECONDS:
            seconds = float(self._current.pts * time_base)
            raise UnreadableVideoError(f"it cannot be decoded after {seconds:.1f} s")

    def _is_far(self, pts: Fraction) -> bool:
        if self._video is not None and not _can_seek(self._video):
            return False
        position = self._span.start_pts if self._current is None else self._current.pts
        return (pts - position) * self._span.time_base > DECODE_ON_SECONDS

    def _seek(self, pts: Fraction) -> None:
        import av.error

        video = self._video
        assert video is not None, "FrameReader is used outside its context"
        for seconds in SEEK_BACK_SECONDS:
            target = int(pts - seconds / self._span.time_base)
            if target <= self._span.start_pts:
                break
            try:
                video.container.seek(target, stream=video.stream)
            except av.error.FFmpegError:
                break  # it cannot seek: decode from the start
            frames = self._decode(video)
            first = next(frames, None)
            if first is not None and first.frame.key_frame and first.pts <= pts:
                self._frames = itertools.chain([first], frames)
                return
        self._rewind()

    def _rewind(self) -> None:
        # Opened anew: in MPEG-TS, seeking to the start can land on the second key frame.
        self._exits.close()
        self._video = self._exits.enter_context(open_video(self._path))
        self._frames = self._decode(self._video)

    def _decode(self, video: OpenVideo) -> Iterator[DecodedFrame]:
        """Decodes onwards from where the container stands; packets that are damaged are skipped."""
        import av.error

        numbered = _lacks_timestamps(video)
        last_pts = self._span.start_pts - 1
        count = 0
        packets: Iterator[Packet[VideoStream] | None] = iter(video.container.demux(video.stream))
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.InvalidDataError:
                self._damaged_pts = self._span.start_pts + self._span.duration_pts
                packet, packets = None, iter(())  # nothing follows but what the decoder still holds
            try:
                frames = video.stream.decode(packet)
            except av.error.InvalidDataError:
                if packet is not None and packet.pts is not None:
                    self._damaged_pts = max(self._damaged_pts, packet.pts)
                continue
            for frame in frames:
                pts = frame.dts if frame.pts is None else frame.pts
                if numbered:
                    pts = self._pts_of_number(count)
                elif pts is None:
                    pts = last_pts + 1
                count += 1
                last_pts = pts
                if frame.is_corrupt:
                    self._damaged_pts = max(self._damaged_pts, pts)
                    continue
                yield DecodedFrame(pts, frame)

    def _pts_of_number(self, number: int) -> int:
        span = self._span
        return span.start_pts + round(Fraction(number * span.duration_pts, span.frame_count))


def _has_b_frames(video: OpenVideo) -> bool:
    return bool(video.stream.codec_context.has_b_frames)


def _can_seek(video: OpenVideo) -> bool:
    """Whether a frame's timestamp is the same wherever decoding began.

    AVI has no presentation timestamps and MPEG-PS has them for some frames only. What FFmpeg makes
    up for the others is wrong with B-frames in AVI, and after a seek in MPEG-PS.
    """
    return video.container.format.name not in ("avi", "mpeg") or not _has_b_frames(video)


def _lacks_timestamps(video: OpenVideo) -> bool:
    return video.container.format.name == "avi" and _has_b_frames(video)


def _shown(stored: Array, frame: VideoFrame) -> Array:
    """A stored picture turned and mirrored by quarter turns as its display matrix asks.

    The matrix [[a, b], [c, d]] takes the point (x, y) to (ax + cy, bx + dy), in 16.16 fixed point
    (FFmpeg's libavutil/display.h).
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return stored
    entries = np.frombuffer(matrix, np.int32)  # type: ignore[call-overload] # PyAV says `object`
    a, b, _, c, d = (int(entry) for entry in entries[:5])
    if abs(b) > abs(a):
        stored, a, d = np.swapaxes(stored, 0, 1), c, b
    return stored[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
