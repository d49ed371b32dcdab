"""What one video may cost, and how large it may be."""

from dataclasses import dataclass

GIB = 1024**3


@dataclass(frozen=True)
class VideoLimits:
    """Beyond any of these a video is refused, or the process that decodes it ended.

    Attributes:
        max_seconds: How long a process may work on one video, in seconds.
        max_memory_bytes: How much memory it may take for that, in bytes of address space beyond
            what it has when it starts. Kept on Linux only.
        max_pixels: Most pixels of a picture.
        max_duration_seconds: Greatest length of a video, in seconds.
        max_streams: Most streams in a file.
        max_frames: Most frames in a video.
        max_sampled_frames: Most frames to be taken from a video.
    """

    max_seconds: float = 600
    max_memory_bytes: int = 4 * GIB
    max_pixels: int = 8192 * 4320
    max_duration_seconds: float = 86_400
    max_streams: int = 64
    max_frames: int = 10_000_000
    max_sampled_frames: int = 10_000
