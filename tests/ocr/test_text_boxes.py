"""Our way from score maps to boxes against EasyOCR's own functions, which are the specification."""

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ocr_assets.ocr.boxes import TextBox, quad_box, rect_box
from ocr_assets.ocr.detector import DetectionError
from ocr_assets.ocr.text_boxes import extract_boxes, group_regions
from ocr_assets.ocr.text_regions import find_regions
from ocr_assets.ocr.thresholds import DetectionThresholds

Map = NDArray[np.float32]
USUAL = DetectionThresholds()


def easyocr_regions(text: Map, link: Map, thresholds: DetectionThresholds) -> list[NDArray]:
    from easyocr.craft_utils import getDetBoxes_core

    regions, _, _ = getDetBoxes_core(
        text, link, thresholds.text_threshold, thresholds.link_threshold, thresholds.low_text
    )
    return regions


def easyocr_group(regions: list[NDArray], thresholds: DetectionThresholds) -> list[TextBox]:
    """The part of `Reader.detect` that follows the network."""
    from easyocr.utils import diff, group_text_box

    horizontal, free = group_text_box(
        regions,
        thresholds.slope_ths,
        thresholds.ycenter_ths,
        thresholds.height_ths,
        thresholds.width_ths,
        thresholds.add_margin,
    )
    if thresholds.min_size:
        horizontal = [
            box for box in horizontal if max(box[1] - box[0], box[3] - box[2]) > thresholds.min_size
        ]
        free = [
            box
            for box in free
            if max(diff([x for x, _ in box]), diff([y for _, y in box])) > thresholds.min_size
        ]
    return [
        *(rect_box(*(int(side) for side in box)) for box in horizontal),
        *(quad_box(box) for box in free),
    ]


def easyocr_boxes(
    text: Map, link: Map, scale: float, thresholds: DetectionThresholds
) -> list[TextBox]:
    from easyocr.craft_utils import adjustResultCoordinates

    regions = easyocr_regions(text, link, thresholds)
    adjusted = adjustResultCoordinates(regions, 1 / scale, 1 / scale)
    return easyocr_group(
        [np.array(region).astype(np.int32).reshape(-1) for region in adjusted], thresholds
    )


def blotches(seed: int, width: int, height: int, size: float) -> Map:
    """A map in [0, 1] with blotches of about that size."""
    noise = np.random.default_rng(seed).random((height, width), np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), size)
    low, high = smooth.min(), smooth.max()
    return (smooth - low) / max(high - low, np.float32(1e-6))


maps = st.builds(
    lambda seed, width, height, text, link: (
        blotches(seed, width, height, text),
        blotches(seed + 1, width, height, link),
    ),
    seed=st.integers(0, 2**32),
    width=st.integers(1, 90),
    height=st.integers(1, 60),
    text=st.floats(0.3, 8),
    link=st.floats(0.3, 8),
)
scores = st.floats(0.1, 0.95)


@given(maps, scores, scores, scores)
@settings(max_examples=300)
def test_regions_are_easyocrs_to_the_bit(
    two_maps: tuple[Map, Map], text_threshold: float, low_text: float, link_threshold: float
) -> None:
    text, link = two_maps
    thresholds = replace(
        USUAL,
        text_threshold=max(text_threshold, low_text),
        low_text=low_text,
        link_threshold=link_threshold,
    )
    expected = easyocr_regions(text, link, thresholds)
    found = find_regions(
        text,
        link,
        text_threshold=thresholds.text_threshold,
        low_text=low_text,
        link_threshold=link_threshold,
    )
    assert found.tolist() == [region.tolist() for region in expected]


@given(maps, st.floats(0.2, 3), st.sampled_from([USUAL, replace(USUAL, low_text=0.6, min_size=0)]))
@settings(max_examples=150)
def test_boxes_of_score_maps_are_easyocrs_to_the_bit(
    two_maps: tuple[Map, Map], scale: float, thresholds: DetectionThresholds
) -> None:
    assert extract_boxes(*two_maps, scale, thresholds) == easyocr_boxes(
        *two_maps, scale, thresholds
    )


corner = st.tuples(st.integers(-40, 700), st.integers(-40, 400))
size = st.tuples(st.integers(1, 200), st.integers(1, 60))
lean = st.tuples(st.integers(-12, 12), st.integers(-12, 12))


def leaning(at: tuple[int, int], size: tuple[int, int], lean: tuple[int, int]) -> list[int]:
    (x, y), (width, height), (across, down) = at, size, lean
    upper_left, upper_right = (x, y), (x + width, y + down)
    lower_right, lower_left = (x + width + across, y + down + height), (x + across, y + height)
    return [*upper_left, *upper_right, *lower_right, *lower_left]


regions = st.lists(st.builds(leaning, corner, size, lean), max_size=40)
parameters = st.builds(
    DetectionThresholds,
    min_size=st.integers(0, 60),
    slope_ths=st.floats(0, 1),
    ycenter_ths=st.floats(0, 2),
    height_ths=st.floats(0, 2),
    width_ths=st.floats(0, 5),
    add_margin=st.floats(0, 1),
)


@given(regions, parameters)
@example([], USUAL)
@settings(max_examples=400)
def test_lines_are_grouped_as_easyocr_groups_them(
    regions: list[list[int]], thresholds: DetectionThresholds
) -> None:
    arrays = [np.array(region, np.int32) for region in regions]
    assert group_regions(regions, thresholds) == easyocr_group(arrays, thresholds)


def test_a_region_that_only_links_is_no_text() -> None:
    text, link = np.zeros((20, 30), np.float32), np.zeros((20, 30), np.float32)
    text[5:10, 5:20] = 0.35  # enough for text_threshold, not for low_text
    link[5:10, 5:20] = 0.9
    assert extract_boxes(text, link, 1.0, replace(USUAL, text_threshold=0.3)) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", [0, 1])
def test_scores_that_are_not_finite_are_an_error_and_not_a_frame_without_text(
    bad: float, which: int
) -> None:
    maps = np.zeros((2, 32, 64), np.float32)
    maps[which, 5, 7] = bad
    with pytest.raises(DetectionError, match="the scores of 128x64 pixels are not finite"):
        extract_boxes(*maps, 1.0, USUAL)


def test_a_box_that_is_on_no_picture_fails_its_frame_alone() -> None:
    text, link = np.zeros((2, 32, 64), np.float32)
    text[10:20, 10:50] = 1
    with pytest.raises(DetectionError, match="is not on any picture"):
        extract_boxes(text, link, 1.0, replace(USUAL, add_margin=1e9))


@pytest.mark.parametrize("name", [field.name for field in fields(DetectionThresholds)])
def test_thresholds_that_no_score_could_reach_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} nan is not a finite number"):
        replace(USUAL, **{name: float("nan")})
