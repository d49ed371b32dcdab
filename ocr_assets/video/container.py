"""Opening a video file safely and measuring the span of time its pictures cover."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from ocr_assets.object_storage_errors import ObjectStorageFailedError
from ocr_assets.reasons import Fault, Status, fault_of
from ocr_assets.video.limits import VideoLimits
from ocr_assets.video.signature import HEAD_BYTES, is_video_signature
from ocr_assets.video.source_file import SourceFile, as_source

if TYPE_CHECKING:
    import av.container
    import av.video.stream

# FFmpeg detects the format by content. Playlists (ffconcat, m3u8, ...) would open other files, so
# only demuxers that read nothing but the file itself are let in.
FORMATS = ("mov", "matroska", "avi", "mpegts", "mpeg")


# How a playlist begins whose name FFmpeg holds against it before its format.
PLAYLIST = b"#EXTM3U"


class UnreadableVideoError(Exception):
    """A file that holds no video that can be decoded; the message says why.

    Attributes:
        fault: The same with its status.
    """

    def __init__(self, status: Status, message: str) -> None:
        """Gives the reason."""
        super().__init__(status, message)  # all of it, so that it can be pickled
        self.fault = Fault(status, message)

    def __str__(self) -> str:
        """The reason alone."""
        return self.fault.message


@dataclass(frozen=True)
class Span:
    """The time a video stream covers.

    Attributes:
        start_pts: Timestamp of the first frame, in ticks of the time base.
        duration_pts: Length in ticks, the last frame's own duration included.
        frame_count: Frames in the stream.
        time_base: Seconds per tick.
        rounding_pts: By how many ticks the other fields may be off, because they were summed up
            from timestamps that the container rounds.
        is_counted: Whether `frame_count` is exact; otherwise it is told from the frame rate.
    """

    start_pts: int
    duration_pts: int
    frame_count: int
    time_base: Fraction
    rounding_pts: int
    is_counted: bool = True

    @property
    def duration_seconds(self) -> float:
        """Length in seconds."""
        return float(self.duration_pts * self.time_base)


@dataclass(frozen=True)
class OpenVideo:
    """An open container and the stream of it that is watched."""

    container: av.container.InputContainer
    stream: av.video.stream.VideoStream


@contextmanager
def open_video(
    path: str | Path | SourceFile, limits: VideoLimits | None = None
) -> Iterator[OpenVideo]:
    """Opens the first video stream that is not a cover picture.

    What FFmpeg says of the file inside the block, too, comes out as `UnreadableVideoError`.

    Raises:
        UnreadableVideoError: It cannot be read, is no video, not one of the formats that are let
            in, or beyond the limits.
        MemoryError: There is not enough memory for it.
    """
    source = as_source(path)
    try:
        with _decoder(source, limits or VideoLimits()) as video:
            yield video
    except Exception:
        ensure_read(source)
        raise
    ensure_read(source)


def ensure_read(source: SourceFile) -> None:
    """Refuses what a decoder has said if it could not read what it wanted to.

    Raises:
        UnreadableVideoError: Something went wrong in reading.
        ObjectStorageFailedError: The same, where it is no fault of the object.
    """
    try:
        source.raise_read_error()
    except ObjectStorageFailedError:
        raise
    except OSError as error:
        fault = fault_of(error)
        raise UnreadableVideoError(fault.status, fault.message) from error


@contextmanager
def _decoder(source: SourceFile, limits: VideoLimits) -> Iterator[OpenVideo]:
    import av
    import av.error
    from av.stream import Disposition

    # Pictures can turn out larger than the container says. FFmpeg counts what it allocates, which
    # is more than the picture; this is for what would be far too large.
    max_pixels = {"max_pixels": str(4 * limits.max_pixels)}
    opened = False
    try:
        with av.open(
            source.for_decoder(),
            mode="r",
            options={
                "format_whitelist": ",".join(FORMATS),
                # An object is read by us; FFmpeg has nothing to open for it.
                "protocol_whitelist": "none" if source.is_far else "file",
                **max_pixels,
            },
            metadata_errors="replace",
        ) as container:
            opened = True
            if len(container.streams) > limits.max_streams:
                raise UnreadableVideoError(
                    Status.TOO_LARGE,
                    f"it has {len(container.streams)} streams, more than {limits.max_streams}",
                )
            streams = [
                stream
                for stream in container.streams.video
                if not stream.disposition & Disposition.attached_pic
            ]
            if not streams:
                raise UnreadableVideoError(Status.NOT_A_VIDEO, "it has no video stream")
            context = streams[0].codec_context
            # PyAV leaves the context out, whatever its types say, where FFmpeg has no decoder.
            if cast("object", context) is None:
                raise UnreadableVideoError(
                    Status.NO_DECODER, "there is no decoder for its video codec"
                )
            if context.width * context.height > limits.max_pixels:
                raise UnreadableVideoError(
                    Status.TOO_LARGE,
                    f"its pictures of {context.width}x{context.height} have more than "
                    f"{limits.max_pixels} pixels",
                )
            context.options = max_pixels
            context.thread_count = 1  # videos are decoded side by side instead
            yield OpenVideo(container, streams[0])
    except av.error.MemoryError:
        raise MemoryError from None
    except av.error.FFmpegError as error:
        ensure_read(source)
        raise _unreadable(source, error, opened=opened) from error
    except IndexError as error:  # PyAV, when streams appear while the file is being read
        raise UnreadableVideoError(
            Status.DAMAGED, "its streams change while it is being read"
        ) from error


def stated_span(video: OpenVideo) -> Span | None:
    """The span the container states; None if it does not, or not credibly.

    MPEG-TS and -PS, Matroska, WebM and fragmented MP4 do not state how many frames they hold, and
    most of them no duration; AVI states what its writer planned, and a fragmented MP4 may state its
    first fragment's.

    Raises:
        UnreadableVideoError: The stream has no time base.
    """
    stream, time_base = video.stream, _time_base(video)
    if stream.duration is not None and stream.duration > 0 and _states_frames(video, time_base):
        return Span(stream.start_time or 0, stream.duration, stream.frames, time_base, 0)
    return None


def span_of_packets(video: OpenVideo) -> Span:
    """The span that the packets show. They are read, not decoded, which moves the read position.

    Raises:
        UnreadableVideoError: There are no packets.
    """
    time_base = _time_base(video)
    rate = video.stream.average_rate or video.stream.guessed_rate
    frame_duration = round(1 / (rate * time_base)) if rate else 0
    start: int | None = None
    end = 0
    count = 0
    for packet in video.container.demux(video.stream):
        pts = packet.dts if packet.pts is None else packet.pts
        if packet.size == 0 or pts is None:
            continue
        count += 1
        start = pts if start is None else min(start, pts)
        end = max(end, pts + (packet.duration or frame_duration))
    if start is None:
        raise UnreadableVideoError(Status.DAMAGED, "its video stream is empty")
    # Where ticks are as long as frames, timestamps are counts and nothing is rounded.
    rounding_pts = 1 if (end - start) / count > 2 else 0
    return Span(start, end - start, count, time_base, rounding_pts)


def _time_base(video: OpenVideo) -> Fraction:
    if video.stream.time_base is None:
        raise UnreadableVideoError(Status.DAMAGED, "its video stream has no time base")
    return video.stream.time_base


def _states_frames(video: OpenVideo, time_base: Fraction) -> bool:
    stream = video.stream
    if stream.frames <= 0 or video.container.format.name == "avi":
        return False
    if stream.average_rate is None or stream.duration is None:
        return True
    expected = float(stream.duration * time_base * stream.average_rate)
    return abs(stream.frames - expected) <= max(2.0, expected / 10)


def _unreadable(source: SourceFile, error: Exception, *, opened: bool) -> UnreadableVideoError:
    """What FFmpeg says, without the number and the path around it."""
    import av.error

    text = getattr(error, "strerror", None) or str(error)
    # These two FFmpeg also says of what it finds in a file, though the disk is in order.
    if isinstance(error, OSError) and error.errno not in (errno.EIO, errno.EAGAIN):
        fault = fault_of(error)
        return UnreadableVideoError(fault.status, fault.message)
    if isinstance(error, av.error.PatchWelcomeError):
        return UnreadableVideoError(
            Status.NO_DECODER, "it has a feature that FFmpeg does not implement"
        )
    if isinstance(error, av.error.EOFError):
        return UnreadableVideoError(Status.DAMAGED, "it is damaged or cut short")
    if not isinstance(error, av.error.InvalidDataError | av.error.ArgumentError):
        return UnreadableVideoError(Status.DAMAGED, str(text))
    if opened:
        return UnreadableVideoError(Status.DAMAGED, "it is damaged")
    with source.open() as file:
        if is_cut_short(file):
            return UnreadableVideoError(
                Status.TRUNCATED, "it is truncated: the file ends within one of its boxes"
            )
        file.seek(0)
        head = file.read(HEAD_BYTES)
    # Of an invalid argument FFmpeg speaks where it knows the format and finds it not on the list.
    if head.startswith(PLAYLIST) or isinstance(error, av.error.ArgumentError):
        return UnreadableVideoError(
            Status.FORMAT_REFUSED, "its format is not one of those that are let in"
        )
    if is_video_signature(head):
        return UnreadableVideoError(Status.DAMAGED, "it is damaged")
    return UnreadableVideoError(
        Status.NOT_A_VIDEO, "it is not a video in a supported format, or it is damaged"
    )


def is_cut_short(file: BinaryIO) -> bool:
    """Whether it is an MP4 or the like that ends within one of its top-level boxes.

    Source: ISO/IEC 14496-12, 4.2: a box begins with its size (32 bits; 1: the next 64 bits after
    the type; 0: to the end of the file) and its type.
    """
    end = file.seek(0, os.SEEK_END)
    position = 0
    while position < end:
        file.seek(position)
        head = file.read(16)
        if len(head) < 8 or (position == 0 and head[4:8] != b"ftyp"):
            return position > 0
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:], "big")
        if size == 0:
            return False
        position += max(size, 8)
    return position > end
