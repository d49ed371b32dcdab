"""Times the reference's frame sampling from within its process, imports excluded.

`sampling` runs it, by the reference's interpreter: nothing of ours is imported. What is timed is
what `video_ocr_area_ratio_filter` does to get at a clip's pictures.
"""

import json
import sys
import time
from pathlib import Path

from data_juicer.utils.mm_utils import close_video, extract_video_frames_uniformly, load_video


def pictures_of(clip: str, frames: int) -> list[float]:
    container = load_video(clip)
    sampled = extract_video_frames_uniformly(container, frames)
    for frame in sampled:
        frame.to_image()
    timestamps = [float(frame.pts * frame.time_base) for frame in sampled]
    close_video(container)
    return timestamps


def main() -> None:
    told, answered = map(Path, sys.argv[1:])
    arguments = json.loads(told.read_text())
    pictures_of(arguments["warm_up"], arguments["frames"])
    started = time.perf_counter()
    timestamps = pictures_of(arguments["clip"], arguments["frames"])
    seconds = time.perf_counter() - started
    answered.write_text(json.dumps({"seconds": seconds, "timestamps": timestamps}))


if __name__ == "__main__":
    main()
