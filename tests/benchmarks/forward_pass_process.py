"""CPU seconds of the bare forward pass on the frames of a job; `job` runs it.

As many frames are in the network at the same time as there are cores, each on one thread: on two
threads a frame costs more CPU seconds, since one waits for the other.
"""

import concurrent.futures
import time
from pathlib import Path
from typing import Any

import polars as pl

from ocr_assets.ocr.detector import ModelSettings, Precision
from ocr_assets.ocr.text_detector import TextDetector
from ocr_assets.ocr.thresholds import DetectionThresholds
from tests.benchmarks.apart import answer
from tests.benchmarks.clips import text_picture
from tests.benchmarks.settings import cores


def time_forward_pass(data: str, precision: Precision, repeats: int) -> list[dict[str, Any]]:
    """CPU seconds of one frame's way through the network, for each size that a job has met.

    Args:
        data: The folder of the job's tables.
        precision: Of the detector.
        repeats: How often each core does each size.
    """
    import torch

    detector = TextDetector(ModelSettings(precision=precision), "cpu")
    thresholds = DetectionThresholds()
    found = []
    with concurrent.futures.ThreadPoolExecutor(
        cores(), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        for width, height, frames in _frame_sizes(Path(data)):
            pictures = [text_picture(width, height, dense=False)]

            def score(_: int, pictures: Any = pictures) -> None:
                detector.score_maps(pictures, thresholds)

            list(pool.map(score, range(cores())))
            started = time.process_time()
            list(pool.map(score, range(repeats * cores())))
            each = (time.process_time() - started) / (repeats * cores())
            found.append(
                {"width": width, "height": height, "frames": frames, "cpu_seconds_per_frame": each}
            )
    return found


def _frame_sizes(data: Path) -> list[tuple[int, int, int]]:
    frames = pl.read_delta(str(data / "ocr_boxes")).filter(pl.col("width").is_not_null())
    return frames.group_by("width", "height").len().sort("width", "height").rows()


if __name__ == "__main__":
    answer(time_forward_pass)
