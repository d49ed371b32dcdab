"""Runs `ocr_boxes` with a network whose answer is there at once; `ceiling` runs it."""

import datetime as dt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import psutil

from ocr_assets.assets.ocr_boxes import ocr_boxes
from ocr_assets.ocr.canvas import Picture
from ocr_assets.ocr.detector import ModelSettings
from ocr_assets.ocr.extraction_processes import ExtractionProcesses
from ocr_assets.ocr.reader_pool import ReaderPool
from ocr_assets.ocr.text_detector import TextDetector
from ocr_assets.ocr.thresholds import DetectionThresholds
from ocr_assets.resources.tables import Tables
from ocr_assets.tables.partition_writer import PartSize
from ocr_assets.tables.schemas import SampledFrames, VideoManifest
from ocr_assets.video.fingerprint import picture_hash
from ocr_assets.video.images import encode_image
from tests.benchmarks.apart import answer
from tests.benchmarks.clips import text_picture
from tests.own_pool import POOLS, OwnPool
from tests.pipeline import DAY, materialize_day

PICTURES = 16  # that differ in more than their noise
FRAMES_A_PART = 256


class CannedNetwork:
    """Gives the same score maps whatever it is shown, at once."""

    def __init__(self, maps: Any) -> None:
        self._maps = maps

    def score_maps(self, canvases: Any) -> Any:
        return self._maps.expand(len(canvases), *self._maps.shape[1:])


def feed(
    width: int, height: int, frames: int, dense: bool, in_processes: bool, rounds: int
) -> dict[str, Any]:
    """Frames a second, and CPU seconds a frame, of each round."""
    thresholds = DetectionThresholds()
    picture = text_picture(width, height, dense=dense)
    detector = TextDetector(ModelSettings(precision="exact"))
    boxes = len(detector.detect(picture, thresholds))
    maps = detector.score_maps([picture], thresholds)
    detector.close()

    def load(settings: ModelSettings, device: str, uuid: str) -> TextDetector:
        import torch

        loaded = TextDetector(settings, "cpu")
        canned = torch.from_numpy(np.ascontiguousarray(maps.transpose(0, 2, 3, 1)))
        loaded._network = CannedNetwork(canned)  # type: ignore[assignment]
        if in_processes:
            loaded._extraction = ExtractionProcesses()
        return loaded

    POOLS["ceiling"] = ReaderPool(load)
    with TemporaryDirectory() as folder:
        tables = Tables(root=folder)
        image_bytes = _write_frames(tables, picture, frames)
        easyocr = OwnPool(bench="ceiling", device="cpu", state_directory=f"{folder}/state")
        # The first one loads the model and everything else that is loaded once.
        _run(folder, easyocr)
        measured = [_run(folder, easyocr) for _ in range(rounds)]
        POOLS.pop("ceiling").close_idle()
    return {
        "boxes": boxes,
        "image_bytes": image_bytes,
        "frames_per_second": [frames / wall for wall, _ in measured],
        "cpu_seconds": [cpu / frames for _, cpu in measured],
    }


def _run(folder: str, easyocr: OwnPool) -> tuple[float, float]:
    """Wall and CPU seconds of the step."""
    cpu = _cpu_seconds()
    result = materialize_day(
        Path(folder),
        Path(folder),
        assets=[ocr_boxes],
        boxes={"reuse_days": None},
        easyocr=easyocr,
    )
    cpu = _cpu_seconds() - cpu
    successes: list[Any] = [
        event.event_specific_data
        for event in result.all_events
        if event.event_type == dg.DagsterEventType.STEP_SUCCESS and event.step_key == "ocr_boxes"
    ]
    (stats,) = successes
    return stats.duration_ms / 1000, cpu


def _cpu_seconds() -> float:
    """Of this process and its children, those that are still there included."""
    own = psutil.Process()
    times = [one.cpu_times() for one in (own, *own.children())]
    return sum(one.user + one.system for one in times)


def _write_frames(tables: Tables, picture: Picture, frames: int) -> int:
    """A day of frames that all differ; returns the mean size of their images in bytes."""
    date = dt.date.fromisoformat(DAY)
    chance = np.random.default_rng(0)
    with tables.video_manifest.replace(date) as writer:
        writer.append(VideoManifest.create_empty().drop("date"))
    sizes = []
    schema = SampledFrames.create_empty().drop("date").schema
    with tables.sampled_frames.replace(date, PartSize(rows=FRAMES_A_PART)) as writer:
        for index in range(frames):
            if index < PICTURES:
                # As much as makes an image take as long to decode as real ones of this size.
                noise = chance.choice([-1, 0, 1], picture.shape, p=[0.03, 0.94, 0.03])
                noisy = (picture + noise).clip(0, 255).astype(np.uint8)
                image = encode_image(noisy)
                image_hash = picture_hash(noisy)
                sizes.append((image, image_hash))
            image, image_hash = sizes[index % PICTURES]
            row = dict.fromkeys(schema) | {
                "video_id": f"{index:032x}",
                "frame_index": 0,
                "pts": 0,
                "timestamp_seconds": 0.0,
                "width": picture.shape[1],
                "height": picture.shape[0],
                "image": image.data,
                "image_format": image.format,
                # Equal pictures would be detected once: here they are said to differ.
                "image_hash": f"{index:08x}{image_hash[8:]}",
                "sampling_key": "benchmark",
            }
            writer.append(pl.DataFrame([row], schema=schema))
    return int(np.mean([len(image.data) for image, _ in sizes]))


if __name__ == "__main__":
    answer(feed)
