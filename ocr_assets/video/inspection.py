"""Everything the manifest says of one video, or why it cannot be read."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ocr_assets.reasons import Fault, fault_of
from ocr_assets.video.container import UnreadableVideoError
from ocr_assets.video.fingerprint import fingerprint
from ocr_assets.video.limits import VideoLimits
from ocr_assets.video.probe import VideoInfo, probe

# A file may change again within one tick of its file system's clock, and look the same.
SETTLED_SECONDS = 2


@dataclass(frozen=True)
class Inspection:
    """A video as found.

    Attributes:
        video_id: Fingerprint of the content; None if the file cannot be opened.
        bytes: File size; None if there is no file.
        file_state: `file_state` when the fingerprint was taken; None if the file changed meanwhile
            or just before.
        info: What the video is; None if it is unreadable.
        fault: Why it is unreadable; None if it is not.
    """

    video_id: str | None = None
    bytes: int | None = None
    file_state: str | None = None
    info: VideoInfo | None = None
    fault: Fault | None = None


def inspect_video(path: str | Path, limits: VideoLimits | None = None) -> Inspection:
    """Fingerprints and probes a file; whatever is wrong with it comes back as `fault`."""
    *_, known = inspect_in_steps(path, limits)
    return known


def inspect_in_steps(path: str | Path, limits: VideoLimits | None = None) -> Iterator[Inspection]:
    """The same, with what is known before the file is given to a decoder as a first result.

    Raises:
        MemoryError: There is not enough memory for it.
    """
    known = Inspection()
    try:
        before = Path(path).stat()
        known = replace(known, bytes=before.st_size)
        known = replace(known, video_id=fingerprint(path))
        known = replace(known, file_state=_settled_state(before, Path(path).stat()))
        yield known
        yield replace(known, info=probe(path, limits))
    except OSError as error:
        yield replace(known, fault=fault_of(error))
    except UnreadableVideoError as error:
        yield replace(known, fault=error.fault)


def file_state(status: os.stat_result) -> str:
    """What changes whenever a file's content does: place, size and times.

    The time of the last change of its inode cannot be set back, unlike that of the content.
    """
    numbers = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return ":".join(map(str, numbers))


def _settled_state(before: os.stat_result, after: os.stat_result) -> str | None:
    changed = max(after.st_mtime, after.st_ctime)
    is_settled = file_state(before) == file_state(after) and time.time() - changed > SETTLED_SECONDS
    return file_state(after) if is_settled else None
