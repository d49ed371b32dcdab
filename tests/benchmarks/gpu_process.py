"""Frames a second on the first CUDA device; `gpu` runs it."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ocr_assets.gpu.placement import PlacementPolicy
from ocr_assets.gpu.snapshot import take_snapshot
from ocr_assets.ocr.canvas import Picture
from ocr_assets.ocr.detector import ModelSettings, Precision
from ocr_assets.ocr.outcome import Detected, Outcome
from ocr_assets.ocr.pipeline import FrameToDo, detect_frames
from ocr_assets.ocr.reader import Sizing
from ocr_assets.ocr.reader_pool import ReaderPool
from ocr_assets.ocr.session import DetectionSession
from ocr_assets.ocr.text_detector import TextDetector, load_text_detector
from ocr_assets.ocr.thresholds import DetectionThresholds
from ocr_assets.video.images import encode_image
from tests.benchmarks.apart import answer
from tests.benchmarks.clips import text_picture

THRESHOLDS = DetectionThresholds()


def measure(
    width: int,
    height: int,
    frames: dict[Precision, int],
    batches: Sequence[int],
    rounds: int,
) -> dict[str, Any] | None:
    """Frames a second of each round; None without a CUDA device."""
    import torch

    if not torch.cuda.is_available():
        return None
    picture = text_picture(width, height, dense=False)
    rows = []
    for precision, count in frames.items():
        settings = ModelSettings(precision=precision)
        for batch in batches:
            forward, peak_bytes = _forward(settings, picture, count, batch, rounds)
            pipeline = _pipeline(settings, picture, count, batch, rounds)
            rows.append(
                {
                    "precision": precision,
                    "batch": batch,
                    "forward": forward,
                    "pipeline": pipeline,
                    "peak_bytes": peak_bytes,
                }
            )
    return {"device": torch.cuda.get_device_name(0), "rows": rows}


def _forward(
    settings: ModelSettings, picture: Picture, frames: int, batch: int, rounds: int
) -> tuple[list[float], int]:
    """The network alone, its input on the GPU already."""
    import torch

    (gpu,) = [gpu for gpu in take_snapshot().usable if gpu.torch_index == 0]
    detector: TextDetector = load_text_detector(settings, "cuda:0", gpu.uuid)
    network = detector._network
    assert network is not None
    canvases = detector._canvases([picture] * batch, THRESHOLDS).cuda()
    found = []
    for _ in range(rounds + 1):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(0, frames, batch):
            network.score_maps(canvases)
        torch.cuda.synchronize()
        found.append(frames / (time.perf_counter() - started))
    peak_bytes = detector.memory().peak_bytes
    del canvases, network
    detector.close()
    return found[1:], peak_bytes


def _pipeline(
    settings: ModelSettings, picture: Picture, frames: int, batch: int, rounds: int
) -> list[float]:
    """From compressed images to boxes."""
    image = encode_image(picture).data
    failed: list[Outcome] = []

    def finish(rgb: Picture | None, outcome: Outcome) -> None:
        if not isinstance(outcome, Detected):
            failed.append(outcome)

    height, width = picture.shape[:2]
    frame = FrameToDo(image, width, height, finish)
    pool = ReaderPool(load_text_detector)
    found = []
    with TemporaryDirectory() as folder:
        policy = PlacementPolicy(Path(folder) / "state", device="cuda")
        with DetectionSession(pool, settings, Sizing(batch), policy, _say) as session:
            run = partial(detect_frames, [("all", [frame] * frames)], session, THRESHOLDS, batch)
            for _ in range(rounds + 1):
                started = time.perf_counter()
                list(run())
                found.append(frames / (time.perf_counter() - started))
        pool.close_idle()
    assert not failed, failed[0]
    return found[1:]


def _say(text: str) -> None:
    print(text)


if __name__ == "__main__":
    answer(measure)
