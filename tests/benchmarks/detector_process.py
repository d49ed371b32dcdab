"""Times EasyOCR's detector and ours in turn, in one process; `detector` runs it."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ocr_assets.gpu.host import usable_cores
from ocr_assets.ocr.boxes import TextBox
from ocr_assets.ocr.canvas import Picture
from ocr_assets.ocr.detector import ModelSettings, Precision
from ocr_assets.ocr.text_boxes import extract_boxes
from ocr_assets.ocr.text_detector import TextDetector
from ocr_assets.ocr.thresholds import DetectionThresholds
from tests.benchmarks.apart import answer
from tests.benchmarks.clips import text_picture

Result = TypeVar("Result")
Rectangle = tuple[int, int, int, int]

EXTRACTIONS_PER_ROUND = 3


def time_detectors(
    sizes: Sequence[tuple[int, int]], rounds: int, precisions: Sequence[Precision]
) -> list[dict[str, Any]]:
    """Seconds a frame of each round, for little and dense text in each size.

    Args:
        sizes: Widths and heights in pixels.
        rounds: How often, in turn.
        precisions: Of our detector.
    """
    import easyocr

    thresholds = DetectionThresholds()
    models = str(ModelSettings().locate_weights())
    reader = easyocr.Reader(
        ["en"],
        gpu=False,
        recognizer=False,
        model_storage_directory=models,
        user_network_directory=models,
        download_enabled=False,
        verbose=False,
    )
    detectors = {
        precision: TextDetector(ModelSettings(precision=precision), "cpu")
        for precision in precisions
    }
    for detector in detectors.values():
        detector.use_threads(usable_cores(), usable_cores())
    rows = []
    for width, height in sizes:
        for dense in (False, True):
            picture = text_picture(width, height, dense=dense)
            detect: dict[str, Callable[[], Any]] = {"easyocr": partial(reader.detect, picture)}
            for name, detector in detectors.items():
                detect[name] = partial(_a_frame_a_core, detector, picture, thresholds)
            seconds, found = _in_turn(detect, rounds)
            for name in precisions:
                seconds[name] = [one / usable_cores() for one in seconds[name]]
            maps = detectors[precisions[0]].score_maps([picture], thresholds)[0]
            row = {
                "width": width,
                "height": height,
                "dense": dense,
                "seconds": seconds,
                "boxes": {name: len(_rectangles(boxes)) for name, boxes in found.items()},
                "same": {
                    name: _rectangles(found[name]) == _rectangles(found["easyocr"])
                    for name in precisions
                },
            }
            rows.append(row | _time_extraction(maps[0], maps[1], rounds))
    return rows


def _a_frame_a_core(
    detector: TextDetector, picture: Picture, thresholds: DetectionThresholds
) -> list[TextBox]:
    """As many copies at once as there are cores, which is how the pipeline uses the detector."""
    pending = detector.detect_batch([picture] * usable_cores(), thresholds)
    (boxes, *_) = [one.result().boxes for one in pending]
    return boxes


def _time_extraction(
    text_map: NDArray[np.float32], link_map: NDArray[np.float32], rounds: int
) -> dict[str, Any]:

    thresholds = DetectionThresholds()
    seconds, found = _in_turn(
        {
            "easyocr": lambda: extract_as_easyocr(text_map, link_map, thresholds),
            "ours": lambda: extract_boxes(text_map, link_map, 1.0, thresholds),
        },
        rounds * EXTRACTIONS_PER_ROUND,
    )
    return {
        "extraction_seconds": seconds,
        "extraction_same": _rectangles(found["ours"]) == _rectangles(found["easyocr"]),
    }


def extract_as_easyocr(
    text_map: NDArray[np.float32], link_map: NDArray[np.float32], thresholds: DetectionThresholds
) -> Any:
    """What `Reader.detect` does with the score maps of a picture that was not resized."""
    from easyocr.craft_utils import adjustResultCoordinates, getDetBoxes
    from easyocr.utils import diff, group_text_box

    boxes, polys, _ = getDetBoxes(
        text_map,
        link_map,
        thresholds.text_threshold,
        thresholds.link_threshold,
        thresholds.low_text,
        False,
        False,
    )
    boxes = adjustResultCoordinates(boxes, 1.0, 1.0)
    polys = adjustResultCoordinates(polys, 1.0, 1.0)
    outlines = [
        np.array(box if poly is None else poly).astype(np.int32).reshape(-1)
        for box, poly in zip(boxes, polys, strict=True)
    ]
    upright, slanted = group_text_box(
        outlines,
        thresholds.slope_ths,
        thresholds.ycenter_ths,
        thresholds.height_ths,
        thresholds.width_ths,
        thresholds.add_margin,
        True,
    )
    least = thresholds.min_size
    upright = [box for box in upright if max(box[1] - box[0], box[3] - box[2]) > least]
    slanted = [
        corners
        for corners in slanted
        if max(diff([corner[0] for corner in corners]), diff([corner[1] for corner in corners]))
        > least
    ]
    return [upright], [slanted]


def _in_turn(
    work: dict[str, Callable[[], Result]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, Result]]:
    """Does each once to warm up, then all in turn, every other round the other way round."""
    found = {name: do() for name, do in work.items()}
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds):
        names = list(work) if number % 2 == 0 else list(reversed(work))
        for name in names:
            started = time.perf_counter()
            work[name]()
            seconds[name].append(time.perf_counter() - started)
    return seconds, found


def _rectangles(found: Any) -> list[Rectangle]:
    """What encloses each box: left, right, top, bottom; of EasyOCR's answer or of ours."""
    if isinstance(found, list):
        return sorted(_enclosing(box.points) for box in found if isinstance(box, TextBox))
    upright, slanted = found
    rectangles = [(int(a), int(b), int(c), int(d)) for a, b, c, d in upright[0]]
    return sorted([*rectangles, *(_enclosing(points) for points in slanted[0])])


def _enclosing(points: Sequence[Sequence[float]]) -> Rectangle:
    across, down = [point[0] for point in points], [point[1] for point in points]
    return int(min(across)), int(max(across)), int(min(down)), int(max(down))


if __name__ == "__main__":
    answer(time_detectors)
