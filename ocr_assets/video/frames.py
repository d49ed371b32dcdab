"""Decoding the first frame at or after a timestamp, exactly, whatever the container."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from ocr_assets.video.container import OpenVideo, Span, UnreadableVideoError, open_video

if TYPE_CHECKING:
    from av import VideoFrame

# Nearer than this, decoding on is cheaper than seeking back to a key frame.
DECODE_ON_SECONDS = 2
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

    @property
    def rotation_degrees(self) -> int:
        """Counter-clockwise rotation that shows the frame upright: 0, 90, 180 or 270."""
        return round(self.frame.rotation / 90) % 4 * 90

    def rgb(self) -> NDArray[np.uint8]:
        """The upright picture: uint8, (height, width, 3), RGB."""
        stored = self.frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
        return np.ascontiguousarray(np.rot90(stored, self.rotation_degrees // 90))


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
            UnreadableVideoError: Not one frame could be decoded.
        """
        if self._current is None or self._current.pts < pts:
            if self._is_far(pts):
                self._seek(pts)
            for decoded in self._frames:
                self._current = decoded
                if decoded.pts >= pts:
                    break
        if self._current is None:
            raise UnreadableVideoError("none of its frames could be decoded")
        return self._current

    def _is_far(self, pts: Fraction) -> bool:
        if self._video is not None and _lacks_timestamps(self._video):
            return False  # only counting from the start tells where it is
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
        packets = video.container.demux(video.stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.InvalidDataError:
                return  # the container ends in rubbish: what came before is what there is
            if packet is None:
                return
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                continue
            for frame in frames:
                pts = frame.dts if frame.pts is None else frame.pts
                if numbered:
                    pts = self._pts_of_number(count)
                elif pts is None:
                    pts = last_pts + 1
                count += 1
                last_pts = pts
                yield DecodedFrame(pts, frame)

    def _pts_of_number(self, number: int) -> int:
        span = self._span
        return span.start_pts + round(Fraction(number * span.duration_pts, span.frame_count))


def _lacks_timestamps(video: OpenVideo) -> bool:
    """AVI has no presentation timestamps: with B-frames those that FFmpeg makes up are wrong."""
    return video.container.format.name == "avi" and bool(video.stream.codec_context.has_b_frames)
