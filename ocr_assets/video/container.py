"""Opening a video file safely and measuring the span of time its pictures cover."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

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

    What FFmpeg says of the file inside the block, too, comes out as `UnreadableVideoError`.

    Raises:
        UnreadableVideoError: It is no video, or not one of the formats that are let in.
    """
    import av
    import av.error
    from av.stream import Disposition

    try:
        with av.open(
            str(Path(path).absolute()),  # "a:b.mp4" would be taken for a protocol
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
            # PyAV leaves the context out, whatever its types say, where FFmpeg has no decoder.
            if cast("object", streams[0].codec_context) is None:
                raise UnreadableVideoError("there is no decoder for its video codec")
            streams[0].codec_context.thread_count = 1  # videos are decoded side by side instead
            yield OpenVideo(container, streams[0])
    except av.error.FFmpegError as error:
        raise UnreadableVideoError(_sentence(error)) from error
    except IndexError as error:  # PyAV, when streams appear while the file is being read
        raise UnreadableVideoError("its streams change while it is being read") from error


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
        raise UnreadableVideoError("its video stream is empty")
    # Where ticks are as long as frames, timestamps are counts and nothing is rounded.
    rounding_pts = 1 if (end - start) / count > 2 else 0
    return Span(start, end - start, count, time_base, rounding_pts)


def _time_base(video: OpenVideo) -> Fraction:
    if video.stream.time_base is None:
        raise UnreadableVideoError("its video stream has no time base")
    return video.stream.time_base


def _states_frames(video: OpenVideo, time_base: Fraction) -> bool:
    stream = video.stream
    if stream.frames <= 0 or video.container.format.name == "avi":
        return False
    if stream.average_rate is None or stream.duration is None:
        return True
    expected = float(stream.duration * time_base * stream.average_rate)
    return abs(stream.frames - expected) <= max(2.0, expected / 10)


def _sentence(error: Exception) -> str:
    """What FFmpeg says, without the number and the path around it."""
    text = getattr(error, "strerror", None) or str(error)
    if text in ("Invalid data found when processing input", "Invalid argument"):
        return "it is not a video in a supported format, or it is damaged"
    return str(text)
