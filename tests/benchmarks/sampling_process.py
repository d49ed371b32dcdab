"""Times our frame sampling from within its process, imports excluded; `sampling` runs it."""

import time
from pathlib import Path

from ocr_assets.video.sampling import SamplingRule, sample_frames
from tests.benchmarks.apart import answer


def time_sampling(clip: str, frames: int, warm_up: str) -> dict[str, object]:
    """Seconds to sample a clip, and the timestamps that were taken.

    Args:
        clip: Its path.
        frames: How many to sample.
        warm_up: Another clip, sampled first: what is imported late is imported then.
    """
    rule = SamplingRule(frames)
    list(sample_frames(Path(warm_up), rule))
    started = time.perf_counter()
    sampled = list(sample_frames(Path(clip), rule))
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "timestamps": [frame.timestamp_seconds for frame in sampled]}


if __name__ == "__main__":
    answer(time_sampling)
