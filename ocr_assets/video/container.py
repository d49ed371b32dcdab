"""Opening a video file safely and measuring the span of time its pictures cover."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av.container
    import av.video.stream

# FFmpeg detects the format by content. Playlists (ffconcat, m3u8, ...) would open other files, so
# only demuxers that read nothing but the file itself are let in.
FORMATS = ("mov", "matroska", "avi", "mpegts", "mpeg")


class UnreadableVideoError(Exception):
    """A file that holds no video that can be decoded; the message says why."""


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
    """

    start_pts: int
    duration_pts: int
    frame_count: int
    time_base: Fraction
    rounding_pts: int

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
def open_video(path: str | Path) -> Iterator[OpenVideo]:
    """Opens the first video stream that is not a cover picture.

    Errors of FFmpeg inside the block, too, come out as `UnreadableVideoError`.

    Raises:
        UnreadableVideoError: It is no video, or not one of the formats that are let in.
    """
    import av
    import av.error
    from av.stream import Disposition

    try:
        with av.open(
            str(path),
            options={"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"},
            metadata_errors="replace",
        ) as container:
            streams = [
                stream
                for stream in container.streams.video
                if not stream.disposition & Disposition.attached_pic
            ]
            if not streams:
                raise UnreadableVideoError("it has no video stream")
            yield OpenVideo(container, streams[0])
    except av.error.FFmpegError as error:
        raise UnreadableVideoError(_sentence(error)) from error


def measure_span(video: OpenVideo) -> Span:
    """The span the container states, else the one its packets show.

    MPEG-TS and -PS, Matroska, WebM and fragmented MP4 do not state how many frames they hold, and
    most of them no duration. Their packets are read, not decoded, which moves the read position.

    Raises:
        UnreadableVideoError: There are no packets.
    """
    stream = video.stream
    time_base = stream.time_base
    if time_base is None:
        raise UnreadableVideoError("its video stream has no time base")
    if stream.frames > 0 and stream.duration is not None and stream.duration > 0:
        return Span(stream.start_time or 0, stream.duration, stream.frames, time_base, 0)
    return _span_of_packets(video, time_base)


def _span_of_packets(video: OpenVideo, time_base: Fraction) -> Span:
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
        raise UnreadableVideoError("its video stream is empty")
    return Span(start, end - start, count, time_base, rounding_pts=1)


def _sentence(error: Exception) -> str:
    """What FFmpeg says, without the number and the path around it."""
    text = getattr(error, "strerror", None) or str(error)
    if text in ("Invalid data found when processing input", "Invalid argument"):
        return "it is not a video in a supported format, or it is damaged"
    return str(text)
