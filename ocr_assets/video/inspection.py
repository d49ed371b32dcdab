"""Everything the manifest says of one video, or why it cannot be read."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ocr_assets.object_storage_errors import ObjectStorageFailedError
from ocr_assets.reasons import Fault, fault_of
from ocr_assets.video.container import UnreadableVideoError
from ocr_assets.video.limits import VideoLimits
from ocr_assets.video.probe import VideoInfo, probe
from ocr_assets.video.source_file import SourceFile, as_source


@dataclass(frozen=True)
class Inspection:
    """A video as found.

    Attributes:
        video_id: Fingerprint of the content, or of an object's version; None if it cannot be
            opened.
        bytes: File size; None if there is no file.
        file_state: What changes whenever the content does, when the fingerprint was taken; None if
            the file changed meanwhile or just before.
        info: What the video is; None if it is unreadable.
        fault: Why it is unreadable; None if it is not.
    """

    video_id: str | None = None
    bytes: int | None = None
    file_state: str | None = None
    info: VideoInfo | None = None
    fault: Fault | None = None


def inspect_video(path: str | Path | SourceFile, limits: VideoLimits | None = None) -> Inspection:
    """Fingerprints and probes a file; whatever is wrong with it comes back as `fault`."""
    *_, known = inspect_in_steps(path, limits)
    return known


def inspect_in_steps(
    path: str | Path | SourceFile, limits: VideoLimits | None = None
) -> Iterator[Inspection]:
    """The same, with what is known before the file is given to a decoder as a first result.

    Raises:
        ObjectStorageFailedError: It is in an object storage, and that is at fault.
        MemoryError: There is not enough memory for it.
    """
    known = Inspection()
    try:
        source = as_source(path)
        known = replace(known, bytes=source.size)
        video_id, state = source.identify()
        known = replace(known, video_id=video_id, file_state=state)
        yield known
        yield replace(known, info=probe(source, limits))
    except ObjectStorageFailedError:
        raise
    except OSError as error:
        yield replace(known, fault=fault_of(error))
    except UnreadableVideoError as error:
        yield replace(known, fault=error.fault)
