"""One of forty processes that share a fake GPU; the test kills some of them."""

import json
import os
import random
from pathlib import Path

import numpy as np

from ocr_assets.gpu.placement import PlacementPolicy
from ocr_assets.ocr.detector import ModelSettings
from ocr_assets.ocr.outcome import Detected
from ocr_assets.ocr.reader import Sizing
from ocr_assets.ocr.reader_pool import ReaderPool
from ocr_assets.ocr.session import DetectionSession
from ocr_assets.ocr.thresholds import DetectionThresholds
from tests.gpu.fake_detector import Appetite, FakeLoader

GIB = 1024**3
FRAMES = 10


def work(
    environment: dict[str, str], policy: PlacementPolicy, tasks: list[int], done: Path
) -> None:
    """Does the tasks, each with a reader of its own for a random time, and notes what is done."""
    os.environ.update(environment)
    loader = FakeLoader(Path(environment["FAKE_NVML_STATE"]), cpu_batch_seconds=0.005)
    pool = ReaderPool(loader)
    picture = np.zeros((480, 640, 3), np.uint8)
    with done.open("a") as log:
        for task in tasks:
            # The same memory in each, 1 GiB at load and 1.5 GiB with a frame, in random times. The
            # allocator is kept to the lease of 2 GiB less what a context takes.
            loader.appetite = Appetite(
                load_bytes=GIB,
                pixel_bytes=GIB // 2 // (480 * 640),
                load_seconds=random.uniform(0.01, 0.05),
                batch_seconds=random.uniform(0.02, 0.1),
            )
            with DetectionSession(
                pool, ModelSettings(), Sizing(1, 2 * GIB), policy, lambda message: None
            ) as session:
                outcomes = session.detect([picture] * FRAMES, DetectionThresholds())
                assert all(isinstance(outcome, Detected) for outcome in outcomes)
                devices = [outcome.device for outcome in outcomes]  # type: ignore[union-attr]
            pool.close_idle()
            line = {"task": task, "devices": devices, "oom": session.tally.out_of_memory}
            log.write(json.dumps(line) + "\n")
            log.flush()
