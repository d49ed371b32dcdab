"""What a video is: container, codec, size, rate and length, from the file's content."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath

from ocr_assets.reasons import Status
from ocr_assets.video.container import OpenVideo, UnreadableVideoError
from ocr_assets.video.frames import FrameReader
from ocr_assets.video.limits import VideoLimits
from ocr_assets.video.source_file import SourceFile, as_source

# To be raised when it finds out something else of the same file: what is known of it is not reused
# then.
PROBE_VERSION = 1


@dataclass(frozen=True)
class VideoInfo:
    """What `probe` found.

    Attributes:
        container: FFmpeg's name of the container format, e.g. `mp4`, `matroska`, `mpegts`.
        codec: FFmpeg's name of the video codec, e.g. `h264`.
        width: Display width in pixels, rotation applied.
        height: Display height in pixels, rotation applied.
        fps: Average frame rate in 1/s, None where it is unknown.
        duration_seconds: Length of the video stream in seconds.
        frame_count: Frames in the video stream; None where it is not read whole to count them.
    """

    container: str
    codec: str
    width: int
    height: int
    fps: float | None
    duration_seconds: float
    frame_count: int | None


def probe(path: str | Path | SourceFile, limits: VideoLimits | None = None) -> VideoInfo:
    """Reads what a video is and decodes its first frame, so that "readable" means just that.

    Raises:
        UnreadableVideoError: It is no video, it is cut short, its first frame does not decode, or
            it is beyond the limits.
        OSError: It is not there, or cannot be read.
        MemoryError: There is not enough memory for it.
    """
    source = as_source(path)
    if source.size == 0:
        raise UnreadableVideoError(Status.NOT_A_VIDEO, "the file is empty")
    with FrameReader(source, limits, count_frames=source.reads_whole) as reader:
        video = reader.video
        _refuse_truncated(video)
        container = _container_name(source.path, video.container.format.name)
        codec = video.stream.codec_context.codec.canonical_name
        rate = video.stream.average_rate or video.stream.guessed_rate
        span = reader.span
        first = reader.first_at_or_after(Fraction(span.start_pts))
        width, height = first.size
    return VideoInfo(
        container=container,
        codec=codec,
        width=width,
        height=height,
        fps=float(rate) if rate else None,
        duration_seconds=span.duration_seconds,
        frame_count=span.frame_count if span.is_counted else None,
    )


def _container_name(path: str, format_name: str) -> str:
    """The demuxer's name; the file's ending picks among those that one demuxer reads."""
    names = format_name.split(",")
    ending = PurePosixPath(path).suffix.lower().lstrip(".")
    if ending in names:
        return ending
    return names[1] if names[0] == "mov" and len(names) > 1 else names[0]


def _refuse_truncated(video: OpenVideo) -> None:
    """MP4's index says where every frame lies, so it tells when the file ends before them."""
    if not video.container.format.name.startswith("mov"):
        return
    end = max((entry.pos + entry.size for entry in video.stream.index_entries), default=0)
    if end > video.container.size > 0:
        raise UnreadableVideoError(
            Status.TRUNCATED,
            f"it is truncated: its index reaches to byte {end}, the file ends at byte "
            f"{video.container.size}",
        )
