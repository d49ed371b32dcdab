"""Everything the manifest says of one video, or why it cannot be read."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ocr_assets.video.container import UnreadableVideoError
from ocr_assets.video.fingerprint import fingerprint
from ocr_assets.video.probe import VideoInfo, probe


@dataclass(frozen=True)
class Inspection:
    """A video as found.

    Attributes:
        video_id: Fingerprint of the content; None if the file cannot be opened.
        bytes: File size; None if there is no file.
        info: What the video is; None if it is unreadable.
        error: Why it is unreadable; None if it is not.
    """

    video_id: str | None = None
    bytes: int | None = None
    info: VideoInfo | None = None
    error: str | None = None


def inspect_video(path: str | Path) -> Inspection:
    """Fingerprints and probes a file; whatever is wrong with it comes back as `error`."""
    *_, known = inspect_in_steps(path)
    return known


def inspect_in_steps(path: str | Path) -> Iterator[Inspection]:
    """The same, with what is known before the file is given to a decoder as a first result."""
    video_id = size = None
    try:
        size = Path(path).stat().st_size
        video_id = fingerprint(path)
        yield Inspection(video_id, size)
        yield Inspection(video_id, size, probe(path))
    except OSError as error:
        yield Inspection(video_id, size, error=error.strerror or str(error))
    except UnreadableVideoError as error:
        yield Inspection(video_id, size, error=str(error))
