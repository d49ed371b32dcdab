"""What the work on a video, a frame and a part takes one core; `scale` runs it."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from ocr_assets.compute.boxes_work import BoxesUnit, BoxesWork
from ocr_assets.gpu.host import usable_cores
from ocr_assets.ocr.detector import ModelSettings
from ocr_assets.ocr.text_detector import TextDetector
from ocr_assets.ocr.thresholds import DetectionThresholds
from ocr_assets.resources.tables import Tables
from ocr_assets.video.decode_worker import EncodedFrame
from ocr_assets.video.images import decode_image
from ocr_assets.video.sampling import SamplingRule
from ocr_assets.video.workers import DecodeWorkers
from tests.benchmarks.apart import answer
from tests.benchmarks.clips import text_picture
from tests.benchmarks.day_of_parts import COLUMNS, DATE

FRAMES = 3
COPIES = 4  # of the clip, one after the other


def measure(clip: str, small: str, part_frames: int, rounds: int) -> dict[str, Any]:
    """Seconds of each round.

    Args:
        clip: A video, of which frames are sampled.
        small: A folder of videos that are so small that looking at one takes what it takes at
            least.
        part_frames: Frames of a part.
        rounds: How often.
    """
    size = Path(clip).stat().st_size
    tiny = [str(path) for path in sorted(Path(small).iterdir())]
    found: dict[str, Any] = {"clip_bytes": size, "part_frames": part_frames}
    with DecodeWorkers(1) as workers:

        def inspect(paths: Sequence[str]) -> None:
            for _ in workers.inspect(paths):
                pass

        def sample() -> list[EncodedFrame]:
            videos = workers.sample([clip] * COPIES, SamplingRule(FRAMES))
            return [frame for frames in videos for frame in frames]

        found["inspect_small"] = _rounds(lambda: inspect(tiny), rounds, len(tiny))
        found["inspect_clip"] = _rounds(lambda: inspect([clip] * COPIES), rounds, COPIES)
        found["sample"] = _rounds(sample, rounds, COPIES)
        frames = sample()
    found["image_bytes"] = int(np.mean([len(frame.image.data) for frame in frames]))
    found["decode_image"] = _rounds(
        lambda: [decode_image(frame.image.data) for frame in frames], rounds, len(frames)
    )
    with TemporaryDirectory() as folder:
        tables = Tables(root=folder)
        rows = pl.DataFrame([_row(number, frames) for number in range(part_frames)], schema=COLUMNS)
        with tables.sampled_frames.replace_units(DATE) as writer:
            place = writer.place
            found["write_part"] = _rounds(lambda: place.write(0, rows), rounds)
            writer.add_unit(0, [place.write(0, rows)])
        (path,) = tables.sampled_frames.parts(DATE)
        found["part_bytes"] = tables.sampled_frames.stored(DATE).bytes
        with tables.ocr_boxes.replace_units(DATE) as boxes:
            work = BoxesWork(
                tables.sampled_frames,
                tables.ocr_boxes,
                DATE,
                boxes.place,
                "benchmark",
                DetectionThresholds(),
                1,
            )
            found["read_part"] = _rounds(lambda: work.read_frames(BoxesUnit(0, path)), rounds)
    found["detect"] = _detect(rounds)
    return found


def _row(number: int, frames: list[EncodedFrame]) -> dict[str, Any]:
    frame = frames[number % len(frames)]
    return {
        **dict.fromkeys(COLUMNS),
        "video_id": f"{number // FRAMES:032x}",
        "frame_index": number % FRAMES,
        "width": frame.width,
        "height": frame.height,
        # All different: equal ones would be stored once.
        "image": frame.image.data + number.to_bytes(4),
        "image_format": frame.image.format,
        "image_hash": f"{number:032x}",
    }


def _detect(rounds: int) -> list[float]:
    """Seconds of a frame of 1280x720 when every core has one of its own."""
    cores = usable_cores()
    detector = TextDetector(ModelSettings(), "cpu")
    detector.use_threads(cores, cores)
    pictures = [text_picture(1280, 720, dense=False)] * cores

    def detect() -> None:
        for one in detector.detect_batch(pictures, DetectionThresholds()):
            one.result()

    found = _rounds(detect, rounds, cores)
    detector.close()
    return found


def _rounds(do: Callable[[], object], rounds: int, count: int = 1) -> list[float]:
    """Seconds of one of so many things, round by round, after one to warm up."""
    seconds = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        do()
        seconds.append((time.perf_counter() - started) / count)
    return seconds[1:]


if __name__ == "__main__":
    answer(measure)
