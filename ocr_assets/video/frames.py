"""Decoding the first frame at or after a timestamp, exactly, whatever the container."""

from __future__ import annotations

import functools
import itertools
import math
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ocr_assets.reasons import Status
from ocr_assets.video.container import (
    OpenVideo,
    Span,
    UnreadableVideoError,
    ensure_read,
    open_video,
    span_of_packets,
    stated_span,
)
from ocr_assets.video.limits import VideoLimits
from ocr_assets.video.source_file import SourceFile, as_source
from ocr_assets.video.span_from_afar import span_from_afar

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream

Array = NDArray[Any]

# Nearer than this, decoding on is cheaper than seeking back to a key frame.
DECODE_ON_SECONDS = 2
# A damaged end longer than this is not overlooked.
DAMAGE_TOLERATED_SECONDS = 1
# How many frames before the end of the span the last one is looked for, without skipping any.
LAST_FRAMES = 4
# What is smaller is read whole, even from afar: that costs no more than to go here and there.
SMALL_BYTES = 2**22
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
        # One thread; by itself FFmpeg starts as many as there are cores, for each frame.
        stored = self.frame.to_ndarray(format="rgb24", threads=1).astype(np.uint8, copy=False)
        return np.ascontiguousarray(_shown(stored, self.frame))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as a viewer sees it."""
        height, width = _shown(np.empty((self.frame.height, self.frame.width)), self.frame).shape
        return width, height


class _SkippingIsUnsafeError(Exception):
    """What was not decoded may have been needed."""


class FrameReader:
    """Finds frames by time in ascending order; a context manager that keeps the file open.

    Seeking in FFmpeg is a hint: containers without an index land after the wanted time, and
    pictures before the first key frame cannot be decoded. So a seek counts only if it arrived at a
    key frame at or before the wanted time; otherwise the reader goes further back, in the end to
    the start.

    From the key frame on, pictures that no other refers to are not decoded as long as they come
    before the wanted time. Whenever that could have changed which frame is found, or its bytes, the
    reader does without it: damage, missing timestamps, a last frame that is not where it should be.
    """

    def __init__(
        self,
        path: str | Path | SourceFile,
        limits: VideoLimits | None = None,
        *,
        count_frames: bool = True,
    ) -> None:
        """Prepares to read; entering the context opens the file.

        Args:
            path: The video.
            limits: What it may cost, and how large it may be.
            count_frames: Whether its span has to tell the number of frames, even if it has to be
                read to its end for that alone.
        """
        self._source = as_source(path)
        self._count_frames = count_frames
        self._limits = limits or VideoLimits()
        self._exits = ExitStack()
        self._video: OpenVideo | None = None
        self._frames: Iterator[DecodedFrame] = iter(())
        self._ahead: deque[DecodedFrame] = deque()  # decoded already; they come before `_frames`
        self._current: DecodedFrame | None = None
        self._damaged_pts: int | None = None  # the last timestamp where something was damaged
        self._may_skip = True
        self._skip_before: int | None = None  # the time from which on all pictures are decoded
        # Since the last seek, if there was one:
        self._sought = False
        self._before: DecodedFrame | None = None
        self._wanted: list[Fraction] = []
        self._has_skipped = False

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

    @property
    def video(self) -> OpenVideo:
        """The open file."""
        assert self._video is not None, "FrameReader is used outside its context"
        return self._video

    @functools.cached_property
    def span(self) -> Span:
        """The span the container states, else the one its packets show.

        Raises:
            UnreadableVideoError: There are no packets, or the span is beyond the limits.
        """
        span = stated_span(self.video)
        if span is None:
            may_estimate = not self._count_frames and self._source.size > SMALL_BYTES
            span = span_from_afar(self.video) if may_estimate else None
            span = span or span_of_packets(self.video)
            self._rewind()
        return self._within_limits(span)

    def count_frames(self) -> Span:
        """The span, with the exact number of frames.

        Raises:
            UnreadableVideoError: As for `span`.
        """
        if not self.span.is_counted:
            self._rewind()
            self.span = self._within_limits(span_of_packets(self.video))
            self._rewind()
        return self.span

    def _within_limits(self, span: Span) -> Span:
        if span.duration_seconds > self._limits.max_duration_seconds:
            raise UnreadableVideoError(
                Status.TOO_LARGE,
                f"it lasts {span.duration_seconds:.1f} s, longer than "
                f"{self._limits.max_duration_seconds:g} s",
            )
        if span.frame_count > self._limits.max_frames:
            raise UnreadableVideoError(
                Status.TOO_LARGE,
                f"it has {span.frame_count} frames, more than {self._limits.max_frames}",
            )
        return span

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
            self._wanted.append(pts)
            try:
                self._find(pts)
            except _SkippingIsUnsafeError:
                self._find_again_without_skipping()
        ensure_read(self._source)
        if self._current is None:
            raise UnreadableVideoError(Status.DAMAGED, "none of its frames could be decoded")
        return self._current

    def _find_again_without_skipping(self) -> None:
        """Reads once more what was read since the last seek, so that damage shows as it would."""
        self._may_skip, self._current = False, self._before
        first, *others = self._wanted
        if self._sought:
            self._seek(first)
        else:
            self._rewind()
        for pts in (first, *others):
            if self._current is None or self._current.pts < pts:
                self._find(pts)

    def _find(self, pts: Fraction) -> None:
        """Goes on to the frame."""
        span = self.span
        # Of a wanted time after the end the last frame is taken, so that one has to be decoded.
        last_pts = span.start_pts + span.duration_pts
        last_pts -= math.ceil(LAST_FRAMES * span.duration_pts / max(span.frame_count, 1))
        self._skip_before = needed_pts = min(math.ceil(pts), last_pts)
        while (decoded := self._next()) is not None:
            self._current = decoded
            if decoded.pts >= pts:
                self._look_ahead()
                return
        if self._has_skipped and (self._current is None or self._current.pts < needed_pts):
            raise _SkippingIsUnsafeError
        self._refuse_damaged_end(pts)

    def _look_ahead(self) -> None:
        """Takes out what the decoder read before the frame it gave last, which may be damaged.

        How damage is covered up depends on the pictures before it, and so on what was skipped.
        """
        import av.error

        if not self._has_skipped:
            return
        waiting = self.video.stream.codec_context.reorder_depth + 2 - len(self._ahead)
        try:
            ahead = list(itertools.islice(self._frames, max(waiting, 0)))
        except av.error.FFmpegError as error:
            raise _SkippingIsUnsafeError from error
        self._ahead.extend(ahead)

    def _next(self) -> DecodedFrame | None:
        return self._ahead.popleft() if self._ahead else next(self._frames, None)

    def _refuse_damaged_end(self, pts: Fraction) -> None:
        """The last good frame stands for what follows it, but not for long stretches of damage."""
        if self._current is None or self._last_damage <= self._current.pts:
            return
        time_base = self.span.time_base
        if (pts - self._current.pts) * time_base > DAMAGE_TOLERATED_SECONDS:
            seconds = float(self._current.pts * time_base)
            raise UnreadableVideoError(
                Status.DAMAGED, f"it cannot be decoded after {seconds:.1f} s"
            )

    def _is_far(self, pts: Fraction) -> bool:
        if not _can_seek(self.video):
            return False
        position = self.span.start_pts if self._current is None else self._current.pts
        return (pts - position) * self.span.time_base > DECODE_ON_SECONDS

    def _seek(self, pts: Fraction) -> None:
        import av.error

        video = self.video
        self._sought, self._before, self._wanted = True, self._current, []
        self._skip_before = None  # a seek is judged by its first frame: none is skipped before it
        for seconds in SEEK_BACK_SECONDS:
            target = int(pts - seconds / self.span.time_base)
            if target <= self.span.start_pts:
                break
            try:
                video.container.seek(target, stream=video.stream)
            except av.error.FFmpegError:
                break  # it cannot seek: decode from the start
            frames = self._decode(video)
            first = next(frames, None)
            if first is not None and first.frame.key_frame and first.pts <= pts:
                self._frames, self._ahead = frames, deque([first])
                return
        self._rewind()

    def _rewind(self) -> None:
        # Opened anew: in MPEG-TS, seeking to the start can land on the second key frame.
        self._exits.close()
        self._video = self._exits.enter_context(open_video(self._source, self._limits))
        self._frames, self._ahead = self._decode(self._video), deque()

    def _decode(self, video: OpenVideo) -> Iterator[DecodedFrame]:
        """Decodes onwards from where the container stands; packets that are damaged are skipped."""
        import av.error

        numbered = _lacks_timestamps(video)
        may_skip = self._may_skip and _can_skip(video)
        context = video.stream.codec_context
        context.skip_frame = "DEFAULT"
        self._has_skipped = skips = doubtful = False
        last_pts = self.span.start_pts - 1
        count = depth = 0
        packets: Iterator[Packet[VideoStream] | None] = iter(video.container.demux(video.stream))
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.InvalidDataError:
                self._note_damage(self.span.start_pts + self.span.duration_pts)
                packet, packets = None, iter(())  # nothing follows but what the decoder still holds
            if may_skip and packet is not None:
                doubtful = doubtful or packet.is_corrupt or (packet.pts is None and packet.size > 0)
                if doubtful:
                    self._note_doubt()
                wanted = None if doubtful else self._skip_before
                skipped, skips = skips, wanted is not None and _is_before(packet, wanted)
                if skips:
                    depth = depth if self._has_skipped else context.reorder_depth
                    self._has_skipped = True
                elif packet.pts is not None:
                    self._skip_before = None  # all that follow, too: what is output last is decoded
                if skips != skipped:
                    context.skip_frame = "NONREF" if skips else "DEFAULT"
            try:
                frames = video.stream.decode(packet)
            except av.error.InvalidDataError:
                if packet is not None and packet.pts is not None:
                    self._note_damage(packet.pts)
                continue
            if self._has_skipped and context.reorder_depth != depth:
                self._note_doubt()  # a picture that was skipped would have told it earlier
            for frame in frames:
                pts = frame.dts if frame.pts is None else frame.pts
                if numbered:
                    pts = self._pts_of_number(count)
                elif pts is None:
                    self._note_doubt()
                    pts = last_pts + 1
                count += 1
                last_pts = pts
                if frame.width * frame.height > self._limits.max_pixels:
                    raise UnreadableVideoError(
                        Status.TOO_LARGE,
                        f"it has a picture of {frame.width}x{frame.height}, more than "
                        f"{self._limits.max_pixels} pixels",
                    )
                if frame.is_corrupt:
                    self._note_damage(pts)
                    continue
                yield DecodedFrame(pts, frame)

    @property
    def _last_damage(self) -> int:
        return self.span.start_pts - 1 if self._damaged_pts is None else self._damaged_pts

    def _note_damage(self, pts: int) -> None:
        self._damaged_pts = max(self._last_damage, pts)
        self._note_doubt()

    def _note_doubt(self) -> None:
        """Here skipping can have changed what follows."""
        if self._has_skipped:
            raise _SkippingIsUnsafeError

    def _pts_of_number(self, number: int) -> int:
        span = self.span
        return span.start_pts + round(Fraction(number * span.duration_pts, span.frame_count))


def _has_b_frames(video: OpenVideo) -> bool:
    return bool(video.stream.codec_context.has_b_frames)


def _can_seek(video: OpenVideo) -> bool:
    """Whether a frame's timestamp is the same wherever decoding began.

    AVI has no presentation timestamps and MPEG-PS has them for some frames only. What FFmpeg makes
    up for the others is wrong with B-frames in AVI, and after a seek in MPEG-PS.
    """
    return video.container.format.name not in ("avi", "mpeg") or not _has_b_frames(video)


def _can_skip(video: OpenVideo) -> bool:
    """Whether the decoder can leave out what nothing refers to without a change to the rest.

    H.264 says so for every picture; HEVC says it only for pictures of one temporal layer. Where a
    Matroska file is damaged, FFmpeg passes over packets without a word, and how their loss is
    covered up depends on all pictures before them.
    """
    is_told_of_loss = video.container.format.name in ("mov,mp4,m4a,3gp,3g2,mj2", "mpegts")
    return is_told_of_loss and video.stream.codec_context.name == "h264"


def _is_before(packet: Packet[VideoStream], pts: int) -> bool:
    return packet.pts is not None and packet.pts < pts


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
