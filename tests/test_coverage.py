from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocr_assets.coverage import (
    FilterRule,
    VideoCoverage,
    judge_sample,
    ocr_area_ratio,
    union_area_ratio,
)
from ocr_assets.ocr.boxes import TextBox, quad_box, rect_box
from ocr_assets.reasons import Fault, Status

WIDTH, HEIGHT = 40, 30

rects = st.builds(
    lambda x, y, width, height: rect_box(x, x + width, y, y + height),
    st.integers(-10, 45),
    st.integers(-10, 35),
    st.integers(0, 60),
    st.integers(0, 60),
)
points = st.tuples(st.floats(-10, 50), st.floats(-10, 40))
boxes = st.one_of(rects, st.lists(points, min_size=4, max_size=4).map(quad_box))


def test_areas_are_counted_as_the_reference_counts_them() -> None:
    assert rect_box(10, 30, 5, 10).area_pixels == 100
    assert rect_box(30, 10, 5, 10).area_pixels == 0
    assert quad_box([(0, 0), (4, 0), (4, 3), (0, 3)]).area_pixels == 12
    slanted = quad_box([(0, 2), (2, 0), (4, 2), (2, 4)])
    assert (slanted.kind, slanted.area_pixels) == ("quad", 8)


def test_overlaps_count_twice_in_one_ratio_and_once_in_the_other() -> None:
    overlapping = [rect_box(0, 20, 0, 30), rect_box(10, 40, 0, 30)]
    assert ocr_area_ratio(overlapping, WIDTH, HEIGHT) == 1.25
    assert union_area_ratio(overlapping, WIDTH, HEIGHT) == 1


def test_boxes_are_clipped_to_the_frame_in_the_union_alone() -> None:
    leaving = [rect_box(-40, 10, 0, 30)]
    assert ocr_area_ratio(leaving, WIDTH, HEIGHT) == 1.25
    assert union_area_ratio(leaving, WIDTH, HEIGHT) == 0.25


def test_a_frame_without_text_has_ratio_0() -> None:
    assert ocr_area_ratio([], WIDTH, HEIGHT) == union_area_ratio([], WIDTH, HEIGHT) == 0


@given(st.lists(rects, max_size=8))
def test_the_union_of_rectangles_is_the_share_of_pixels_under_them(found: list[TextBox]) -> None:
    covered = np.zeros((HEIGHT, WIDTH), bool)
    for box in found:
        (x_min, y_min), _, (x_max, y_max), _ = box.points
        covered[
            max(int(y_min), 0) : max(int(y_max), 0), max(int(x_min), 0) : max(int(x_max), 0)
        ] = 1
    assert union_area_ratio(found, WIDTH, HEIGHT) == pytest.approx(covered.mean(), abs=1e-9)


@given(st.lists(boxes, max_size=8))
def test_the_union_lies_in_0_to_1_whatever_the_boxes(found: list[TextBox]) -> None:
    union = union_area_ratio(found, WIDTH, HEIGHT)
    assert 0 <= union <= 1
    assert ocr_area_ratio(found, WIDTH, HEIGHT) >= 0


def coverage(ratio: float) -> VideoCoverage:
    return VideoCoverage(ratio, ratio, ratio)


@pytest.mark.parametrize(
    ("ratio", "verdict", "reason"),
    [
        (0.2882, "drop", "ocr_area_ratio 0.288 above max_area_ratio 0.100"),
        (0.01, "drop", "ocr_area_ratio 0.010 below min_area_ratio 0.050"),
        (0.07, "keep", "ocr_area_ratio 0.070 within [0.050, 0.100]"),
        (0.05, "keep", "ocr_area_ratio 0.050 within [0.050, 0.100]"),
        (0.1, "keep", "ocr_area_ratio 0.100 within [0.050, 0.100]"),
        (0.10004, "drop", "ocr_area_ratio 0.10004 above max_area_ratio 0.10000"),
        (0.0499999, "drop", "ocr_area_ratio 0.0499999 below min_area_ratio 0.0500000"),
    ],
)
def test_the_interval_is_closed_and_the_reason_shows_it(
    ratio: float, verdict: str, reason: str
) -> None:
    judgement = judge_sample([coverage(ratio)], FilterRule(0.05, 0.1))
    assert (judgement.verdict, judgement.reason) == (verdict, reason)
    kind = next((word for word in ("above", "below") if word in reason), "ok")
    assert judgement.reason_code.split("_")[0] == kind


@pytest.mark.parametrize("metric", ["ocr_area_ratio", "union_area_ratio", "max_union_area_ratio"])
def test_the_metric_can_be_chosen(metric: Any) -> None:
    values = {"ocr_area_ratio": 0.9, "union_area_ratio": 0.9, "max_union_area_ratio": 0.9}
    rule = FilterRule(max_area_ratio=0.5, metric=metric)
    assert judge_sample([VideoCoverage(**values)], rule).verdict == "drop"
    assert judge_sample([VideoCoverage(**(values | {metric: 0.5}))], rule).verdict == "keep"


IN, OUT = coverage(0.08), coverage(0.5)
UNKNOWN = Fault(Status.DAMAGED, "it is damaged")


@pytest.mark.parametrize(
    ("videos", "any_verdict", "all_verdict"),
    [
        ([IN], "keep", "keep"),
        ([OUT], "drop", "drop"),
        ([UNKNOWN], "quarantine", "quarantine"),
        ([IN, IN], "keep", "keep"),
        ([IN, OUT], "keep", "drop"),
        ([OUT, OUT], "drop", "drop"),
        ([IN, UNKNOWN], "keep", "quarantine"),
        ([OUT, UNKNOWN], "quarantine", "drop"),
        ([UNKNOWN, UNKNOWN], "quarantine", "quarantine"),
        ([], "keep", "keep"),
    ],
)
def test_samples_of_several_videos_are_judged_by_any_or_all(
    videos: Sequence[VideoCoverage | Fault], any_verdict: str, all_verdict: str
) -> None:
    for any_or_all, verdict in (("any", any_verdict), ("all", all_verdict)):
        mode: Literal["any", "all"] = "any" if any_or_all == "any" else "all"
        assert judge_sample(videos, FilterRule(0, 0.1, any_or_all=mode)).verdict == verdict


def test_the_reason_names_the_video_that_decided() -> None:
    rule = FilterRule(0, 0.1, any_or_all="all")
    assert judge_sample([IN, OUT], rule).reason == (
        "video 2 of 2: ocr_area_ratio 0.500 above max_area_ratio 0.100"
    )
    judgement = judge_sample([IN, UNKNOWN], rule)
    assert (judgement.reason_code, judgement.reason) == ("damaged", "video 2 of 2: it is damaged")
    assert judge_sample([], rule).reason == "the sample has no videos"


@pytest.mark.parametrize("any_or_all", ["any", "all"])
@pytest.mark.parametrize("ratio", [float("nan"), float("inf")])
def test_a_ratio_that_is_no_number_never_keeps(
    any_or_all: Literal["any", "all"], ratio: float
) -> None:
    rule = FilterRule(0, 0.1, any_or_all=any_or_all)
    for videos in ([coverage(ratio)], [coverage(ratio), OUT]):
        assert judge_sample(videos, rule).verdict != "keep"


def test_the_references_own_cases_are_judged_as_it_judges_them(parity: dict[str, Any]) -> None:
    ratios = {name: video["ratio_default"] for name, video in parity["videos"].items()}
    assert parity["filter_cases"]
    for case in parity["filter_cases"].values():
        rule = FilterRule(
            case["min_area_ratio"], case["max_area_ratio"], any_or_all=case["any_or_all"]
        )
        kept = [
            sample
            for sample in case["samples"]
            if judge_sample([coverage(ratios[name]) for name in sample], rule).verdict == "keep"
        ]
        assert kept == case["expected_kept"]


@pytest.mark.parametrize("bounds", [(0.5, 0.1), (-0.1, 1), (float("nan"), 1), (0, float("nan"))])
def test_bounds_that_are_no_interval_are_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="are not an interval"):
        FilterRule(*bounds)
