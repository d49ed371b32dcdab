"""What decoding one video may cost."""

import dagster as dg

from ocr_assets.config_fields import DAY_SECONDS, number
from ocr_assets.gpu.sizes import GIB, MIB
from ocr_assets.video.limits import VideoLimits
from ocr_assets.video.source_file import Storage
from ocr_assets.video.workers import DecodeWorkers

DEFAULTS = VideoLimits()


class VideoDecoder(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Probes and samples videos in processes of their own, each video within limits.

    A video beyond one of them is quarantined with the reason; the others go on.
    """

    max_seconds: float = number(
        DEFAULTS.max_seconds,
        0,
        DAY_SECONDS,
        (
            "How long a process may work on one video, in seconds, before it is killed and the "
            "video quarantined (`timeout`)."
        ),
        above=True,
    )
    max_memory_bytes: int = number(
        DEFAULTS.max_memory_bytes,
        128 * MIB,
        1024 * GIB,
        (
            "Memory that a process may take for a video, in bytes (`out_of_memory`); on Linux. "
            "Unless set: 4 GiB."
        ),
    )
    max_pixels: int = number(
        DEFAULTS.max_pixels,
        1,
        2**31 - 1,
        "Most pixels of a picture, width x height (`too_large`). Unless set: 8192 x 4320.",
    )
    max_duration_seconds: float = number(
        DEFAULTS.max_duration_seconds,
        0,
        365 * DAY_SECONDS,
        "Greatest length of a video, in seconds (`too_large`). Unless set: a day.",
        above=True,
    )
    max_streams: int = number(
        DEFAULTS.max_streams,
        1,
        1000,
        "Most streams in a file: pictures, sound, subtitles and so on (`too_large`).",
    )
    max_frames: int = number(
        DEFAULTS.max_frames, 1, 10**12, "Most frames in a video (`too_large`)."
    )
    max_sampled_frames: int = number(
        DEFAULTS.max_sampled_frames,
        1,
        1_000_000,
        "Most frames that are taken from a video; one that would give more is `too_large`.",
    )

    def limits(self) -> VideoLimits:
        """The same as the value that the workers take."""
        return VideoLimits(
            max_seconds=self.max_seconds,
            max_memory_bytes=self.max_memory_bytes,
            max_pixels=self.max_pixels,
            max_duration_seconds=self.max_duration_seconds,
            max_streams=self.max_streams,
            max_frames=self.max_frames,
            max_sampled_frames=self.max_sampled_frames,
        )

    def workers(self, count: int, storage: Storage | None = None) -> DecodeWorkers:
        """So many processes at most, to be used as a context manager.

        Args:
            count: How many.
            storage: How videos that are objects are reached.
        """
        return DecodeWorkers(count, self.limits(), storage)
