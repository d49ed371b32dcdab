"""What tells that the videos of a day have changed, without reading them."""

import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ocr_assets.object_storage import is_object_url
from ocr_assets.video.listing import Sample, VideoReference


@dataclass(frozen=True)
class SourceState:
    """A day of a source, as it was at one moment.

    Attributes:
        fingerprint: 64 hexadecimal digits (SHA-256) over the samples in their order: their ids,
            errors and other keys, and each video's path with its size and time of modification or
            with what is wrong with it. The same as long as all of that is.
        samples: How many samples there are.
        newest: When the youngest of the files was last modified, in seconds since the epoch; None
            if there are no files.
    """

    fingerprint: str
    samples: int
    newest: float | None


def source_state(
    samples: Iterable[Sample], listed_at: float | None = None, within_seconds: float | None = None
) -> SourceState:
    """Looks at every file that the samples name, and opens none.

    Of objects it takes what their listing says. Those that a JSONL names count by their names
    alone, as each would cost a request.

    Args:
        samples: The samples of a day.
        listed_at: When the file that lists them was last modified, which counts for `newest`.
        within_seconds: How long it may take; None for as long as it takes.

    Raises:
        OSError: The samples cannot be listed.
        TimeoutError: It took too long; an OSError, too.
    """
    started = time.monotonic()
    digest = hashlib.sha256()
    times: list[float] = []
    count = 0
    for sample in samples:
        count += 1
        if within_seconds is not None and time.monotonic() - started > within_seconds:
            raise TimeoutError(
                f"it has more samples than can be looked at in {within_seconds:g} seconds"
            )
        videos = [_video(video, times) for video in sample.videos]
        problem = None if sample.fault is None else sample.fault.message
        entry = [sample.sample_id, problem, videos, sample.other_keys]
        # ASCII and without line breaks: what JSON may hold and UTF-8 may not does no harm, and no
        # two lists of samples have the same lines.
        digest.update(json.dumps(entry).encode() + b"\n")
    if listed_at is not None:
        times.append(listed_at)
    return SourceState(digest.hexdigest(), count, max(times, default=None))


def _video(video: VideoReference, times: list[float]) -> list[object]:
    """What the fingerprint holds of a video; its time goes to `times`."""
    if video.fault is not None:
        return [video.path, video.fault.message]  # what must not be opened is not looked at either
    if video.version is not None:
        times.append(video.version.last_modified)
        return [video.path, video.version.size, video.version.e_tag, video.version.last_modified]
    if is_object_url(video.path):
        return [video.path]
    try:
        found = Path(video.path).stat()
    except OSError as error:
        return [video.path, error.strerror]
    times.append(found.st_mtime)
    return [video.path, found.st_size, found.st_mtime_ns]
