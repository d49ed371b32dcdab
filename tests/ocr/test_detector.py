"""Real EasyOCR with its real weights, on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ocr_assets.coverage import ocr_area_ratio, union_area_ratio
from ocr_assets.demo import Line
from ocr_assets.gpu.faults import DeviceError
from ocr_assets.ocr.detector import DetectionError, ModelSettings
from ocr_assets.ocr.text_detector import TextDetector
from ocr_assets.ocr.thresholds import DetectionThresholds
from ocr_assets.video.sampling import SamplingRule, sample_frames
from tests.clips import text_picture

DEFAULTS = DetectionThresholds()


@pytest.mark.parametrize("video", ["video1.mp4", "video2.mp4", "video3.mp4"])
def test_every_box_equals_the_references(
    parity_folder: Path, parity: dict[str, Any], detector: TextDetector, video: str
) -> None:
    runs = parity["videos"][video]["runs"]
    expected = {frame["pts"]: frame for run in runs.values() for frame in run["frames"]}
    found = {}
    for run in runs:
        for frame in sample_frames(parity_folder / video, SamplingRule(int(run))):
            if frame.pts not in found:
                height, width = frame.rgb.shape[:2]
                found[frame.pts] = (detector.detect(frame.rgb, DEFAULTS), width, height)
    assert found.keys() == expected.keys()
    for pts, (boxes, width, height) in found.items():
        rects = [box.points for box in boxes if box.kind == "rect"]
        assert [[p[0][0], p[1][0], p[0][1], p[2][1]] for p in rects] == expected[pts]["rects"]
        quads = [[list(point) for point in box.points] for box in boxes if box.kind == "quad"]
        assert quads == expected[pts]["quads"]
        assert ocr_area_ratio(boxes, width, height) == pytest.approx(
            expected[pts]["ratio"], abs=1e-6
        )
        assert union_area_ratio(boxes, width, height) == pytest.approx(
            expected[pts]["union_ratio"], abs=1e-6
        )
    for run in runs.values():
        ratios = [
            ocr_area_ratio(*found[frame["pts"]][:1], *found[frame["pts"]][1:])
            for frame in run["frames"]
        ]
        assert np.mean(ratios) == pytest.approx(run["ratio"], abs=1e-6)


def test_text_is_found_where_it_is(detector: TextDetector) -> None:
    line = Line("Hello there", left=100, middle=180, size=48)
    picture = text_picture([line])
    rows, columns = np.nonzero((picture > 200).all(axis=2))
    (box,) = detector.detect(picture, DEFAULTS)
    (x_min, y_min), _, (x_max, y_max), _ = box.points
    assert box.kind == "rect"
    # The margin that EasyOCR adds is a tenth of the height.
    assert [x_min, x_max, y_min, y_max] == pytest.approx(
        [columns.min(), columns.max(), rows.min(), rows.max()], abs=14
    )
    assert box.text is box.confidence is None


def test_a_picture_without_text_has_no_boxes(detector: TextDetector) -> None:
    assert detector.detect(text_picture(), DEFAULTS) == []


def test_slanted_text_gives_a_quadrilateral(detector: TextDetector) -> None:
    from PIL import Image

    upright = Image.fromarray(text_picture([Line("SLANTED TEXT", 120, 180, 48)]))
    slanted = np.asarray(upright.rotate(20, fillcolor=(20, 40, 90)))
    boxes = detector.detect(slanted, DEFAULTS)
    assert {box.kind for box in boxes} == {"quad"}
    covered = union_area_ratio(boxes, 640, 360)
    assert 0.05 < covered < 0.2
    assert ocr_area_ratio(boxes, 640, 360) == pytest.approx(covered, abs=0.01)


def test_thresholds_reach_the_detector(detector: TextDetector) -> None:
    picture = text_picture([Line("Hello there", 100, 180, 48)])
    assert detector.detect(picture, DetectionThresholds(min_size=640)) == []
    (plain,) = detector.detect(picture, DetectionThresholds(add_margin=0))
    (wide,) = detector.detect(picture, DetectionThresholds(add_margin=0.3))
    assert plain.area_pixels < wide.area_pixels


def test_text_is_read_on_request() -> None:
    reader = TextDetector(ModelSettings(recognize=True))
    lines = [Line("Hello there", 100, 100, 48), Line("Goodbye", 100, 250, 48)]
    boxes = reader.detect(text_picture(lines), DEFAULTS)
    assert [box.text for box in boxes] == ["Hello there", "Goodbye"]
    assert all(box.confidence is not None and 0.5 < box.confidence <= 1 for box in boxes)


def test_a_picture_that_cannot_be_scaled_is_an_error_of_its_own(detector: TextDetector) -> None:
    with pytest.raises(DetectionError, match="1x4000 pixels leave 0x2560 on a canvas"):
        detector.detect(np.zeros((4000, 1, 3), np.uint8), DEFAULTS)
    assert detector.detect(np.zeros((1, 1, 3), np.uint8), DEFAULTS) == []


def test_pictures_at_once_give_what_they_give_alone() -> None:
    detector = TextDetector(ModelSettings())
    pictures = [text_picture([Line("Hello there", 100, y, 48)]) for y in (100, 180, 260)]
    alone = [detector.detect(picture, DEFAULTS) for picture in pictures]
    for threads, frames_at_once in ((2, 2), (1000, 3), (1, 1)):
        detector.use_threads(threads, frames_at_once)
        together = detector.detect_batch(pictures, DEFAULTS)
        assert [found.result().boxes for found in together] == alone
    assert len({boxes[0].points for boxes in alone}) == 3
    detector.close()


def test_a_detector_that_is_closed_finishes_what_it_has_begun() -> None:
    detector = TextDetector(ModelSettings())
    pictures = [text_picture([Line("Hello there", 100, y, 48)]) for y in (100, 180, 260)]
    pending = detector.detect_batch(pictures, DEFAULTS)
    detector.close()
    assert [len(found.result().boxes) for found in pending] == [1, 1, 1]


def test_asking_for_a_gpu_where_there_is_none_fails_with_a_sentence() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(DeviceError, match="PyTorch sees no CUDA device"):
        TextDetector(ModelSettings(), "cuda:0")


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ValueError, match="is not supported"):
        folder = str(ModelSettings().locate_weights())
        TextDetector(ModelSettings(("xx",), recognize=True, weights_directory=folder))
