from collections.abc import Sequence
from random import Random
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocr_assets.coverage import (
    METRICS,
    FilterRule,
    VideoCoverage,
    judge_sample,
    ocr_area_ratio,
    union_area_ratio,
)
from ocr_assets.ocr.boxes import FARTHEST_PIXELS, TextBox, quad_box, rect_box
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
quads = st.lists(points, min_size=4, max_size=4).map(quad_box)
boxes = st.one_of(rects, quads)
# Points, lines, crossed sides, sides on sides, and rectangles with their sides the wrong way round.
grid_points = st.tuples(st.integers(-2, 8).map(lambda x: 5 * x), st.integers(-2, 7))
degenerate = st.one_of(
    st.lists(grid_points, min_size=4, max_size=4).map(quad_box),
    st.tuples(*[st.integers(-10, 40)] * 4).map(lambda sides: rect_box(*sides)),
)
any_boxes = st.one_of(boxes, degenerate)

TOLERANCE = 1e-8  # of ratios: corners of slanted boxes and the crossings of their sides are rounded
NAN, INF = float("nan"), float("inf")


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


@given(st.lists(any_boxes, max_size=8))
def test_the_union_lies_in_0_to_1_and_is_at_most_the_sum_whatever_the_boxes(
    found: list[TextBox],
) -> None:
    union = union_area_ratio(found, WIDTH, HEIGHT)
    assert 0 <= union <= 1
    # Also where boxes leave the frame: the sum counts what is outside, the union does not.
    assert union <= ocr_area_ratio(found, WIDTH, HEIGHT) + TOLERANCE


@given(st.lists(boxes, max_size=8), st.randoms(use_true_random=False))
def test_neither_ratio_depends_on_the_order_of_the_boxes(
    found: list[TextBox], random: Random
) -> None:
    shuffled = random.sample(found, len(found))
    for ratio in (ocr_area_ratio, union_area_ratio):
        assert ratio(shuffled, WIDTH, HEIGHT) == pytest.approx(
            ratio(found, WIDTH, HEIGHT), abs=TOLERANCE
        )


@given(st.lists(boxes, max_size=8), boxes)
def test_another_box_makes_neither_ratio_smaller(found: list[TextBox], one: TextBox) -> None:
    for ratio in (ocr_area_ratio, union_area_ratio):
        before, after = (ratio(some, WIDTH, HEIGHT) for some in (found, [*found, one]))
        assert after >= before - TOLERANCE


@given(st.lists(boxes, max_size=8), st.data())
def test_a_box_found_twice_covers_what_it_covers_once(
    found: list[TextBox], data: st.DataObject
) -> None:
    again = data.draw(st.lists(st.sampled_from(found), max_size=3)) if found else []
    assert union_area_ratio(found + again, WIDTH, HEIGHT) == pytest.approx(
        union_area_ratio(found, WIDTH, HEIGHT), abs=TOLERANCE
    )


@given(st.lists(rects, max_size=8), st.sampled_from([(0, 0), (3, 3), (50, 3)]))
def test_rectangles_cover_the_same_beside_a_quadrilateral_without_area(
    found: list[TextBox], corner: tuple[float, float]
) -> None:
    beside = [*found, quad_box([corner, (0, 0), corner, (0, 0)])]
    assert union_area_ratio(beside, WIDTH, HEIGHT) == pytest.approx(
        union_area_ratio(found, WIDTH, HEIGHT), abs=TOLERANCE
    )


def test_a_rectangle_whose_sides_are_the_wrong_way_round_covers_nothing() -> None:
    reversed_, slanted = rect_box(30, 10, 5, 10), quad_box([(0, 2), (2, 0), (4, 2), (2, 4)])
    assert union_area_ratio([reversed_], WIDTH, HEIGHT) == 0
    assert union_area_ratio([reversed_, slanted], WIDTH, HEIGHT) == pytest.approx(8 / 1200)


def test_under_a_quadrilateral_whose_sides_cross_are_its_two_triangles() -> None:
    crossed = quad_box([(0, 0), (4, 4), (4, 0), (0, 4)])
    assert union_area_ratio([crossed], WIDTH, HEIGHT) == pytest.approx(8 / 1200)
    assert ocr_area_ratio([crossed], WIDTH, HEIGHT) == pytest.approx(16 / 1200)


def test_no_box_vanishes_beside_one_that_is_thinner_than_numbers_can_tell() -> None:
    sliver = quad_box([(0, 0), (0, 0), (0, 7.5e-112), (1, 1)])
    diamond = quad_box([(0, 1), (1, 0), (0, -1), (-1, 0)])
    beside = quad_box([(50, 0), (10_000, 0), (10_000, 10_000), (50, 10_000)])
    assert union_area_ratio([beside, sliver, diamond], WIDTH, HEIGHT) == pytest.approx(0.5 / 1200)


@settings(max_examples=40)
@given(st.lists(any_boxes, max_size=4))
def test_the_union_is_the_share_of_points_of_a_grid_that_lie_under_a_box(
    found: list[TextBox],
) -> None:
    """A cell that no side crosses lies under a box with all of its points or with none.

    A side that goes over dx columns and dy rows of cells, within the frame, meets dx + dy + 3 cells
    at most; of each of them, its middle tells something wrong about one cell's area at most.
    """
    fine = 8  # cells per pixel and side
    middles = (np.arange(WIDTH * fine) + 0.5) / fine, (np.arange(HEIGHT * fine) + 0.5) / fine
    xs, ys = np.meshgrid(*middles)
    under = np.zeros(xs.shape, bool)
    crossed_cells = 0.0
    for box in found:
        if box.area_pixels == 0:
            continue
        inside = np.zeros(xs.shape, bool)
        for (x1, y1), (x2, y2) in zip(box.points, box.points[1:] + box.points[:1], strict=True):
            if y1 != y2:  # whether the ray from a point to the right crosses the side
                met = (y1 > ys) != (y2 > ys)
                share = np.divide(ys - y1, y2 - y1, where=met, out=np.zeros(xs.shape))
                inside ^= met & (xs < x1 + share * (x2 - x1))
            crossed_cells += fine * min(abs(x2 - x1), WIDTH) + fine * min(abs(y2 - y1), HEIGHT) + 3
        under |= inside
    assert abs(union_area_ratio(found, WIDTH, HEIGHT) - under.mean()) <= (
        crossed_cells / under.size + TOLERANCE
    )


@given(st.sampled_from([1e4, 1e6, FARTHEST_PIXELS]), st.lists(boxes, max_size=3))
def test_a_huge_box_over_the_frame_covers_it_and_what_is_beside_it_does_not_matter(
    far: float, found: list[TextBox]
) -> None:
    covering = [
        rect_box(-far, far, -far, far),
        quad_box([(-far, 0), (0, -far), (far, 0), (0, far)]),
        quad_box([(-far, -far), (far, -far), (far, far), (-far, far)]),
    ]
    for huge in covering:
        assert union_area_ratio([huge, *found], WIDTH, HEIGHT) == pytest.approx(1, abs=TOLERANCE)
    beside = quad_box([(50, 0), (far, 0), (far, far), (50, far)])
    assert union_area_ratio([beside, *found], WIDTH, HEIGHT) == pytest.approx(
        union_area_ratio(found, WIDTH, HEIGHT), abs=TOLERANCE
    )


def coverage(ratio: float) -> VideoCoverage:
    return VideoCoverage(**dict.fromkeys(METRICS, ratio))


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
    values = dict.fromkeys(METRICS, 0.9)
    rule = FilterRule(max_area_ratio=0.5, metric=metric)
    assert judge_sample([VideoCoverage(**values)], rule).verdict == "drop"
    assert judge_sample([VideoCoverage(**(values | {metric: 0.5}))], rule).verdict == "keep"


def test_a_video_of_one_frame_is_not_known_to_have_static_text() -> None:
    video = VideoCoverage(**{**dict.fromkeys(METRICS, 0.5), "static_text_ratio": None})
    judgement = judge_sample([video], FilterRule(metric="static_text_ratio"))
    assert (judgement.verdict, judgement.reason_code) == ("quarantine", "too_few_frames")
    assert judgement.reason == "static_text_ratio needs two sampled frames, and there is one"
    assert judge_sample([video], FilterRule()).verdict == "keep"


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


@pytest.mark.parametrize(
    "bounds", [(0.5, 0.1), (-0.1, 1), (NAN, 1), (0, NAN), (NAN, NAN), (-INF, INF), (INF, INF)]
)
def test_bounds_that_are_no_interval_are_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="are not an interval"):
        FilterRule(*bounds)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("ratio", [NAN, INF, -INF, -0.1])
def test_what_is_no_ratio_is_no_coverage_that_could_be_judged(metric: str, ratio: float) -> None:
    with pytest.raises(ValueError, match=f"{metric} {ratio} is not a finite number"):
        VideoCoverage(**(dict.fromkeys(METRICS, 0.0) | {metric: ratio}))


@given(st.floats(0, 1e12), st.floats(0, 1e12), st.floats(0, INF))
def test_a_sample_is_kept_exactly_if_its_ratio_lies_in_the_interval(
    ratio: float, low: float, more: float
) -> None:
    judgement = judge_sample([coverage(ratio)], FilterRule(low, low + more))
    assert (judgement.verdict == "keep") == (low <= ratio <= low + more)
    assert (" within [" in judgement.reason) == (judgement.verdict == "keep")


@given(st.lists(st.sampled_from(["in", "out", "unread"]), min_size=1, max_size=5))
def test_reading_an_unread_video_confirms_a_verdict_but_never_overturns_it(
    kinds: list[str],
) -> None:
    known: dict[str, Any] = {"in": IN, "out": OUT, "unread": UNKNOWN}
    for any_or_all in ("any", "all"):
        rule = FilterRule(0, 0.1, any_or_all=any_or_all)  # type: ignore[arg-type]
        verdict = judge_sample([known[kind] for kind in kinds], rule).verdict
        possible = {
            judge_sample(
                [known[read if kind == "unread" else kind] for kind in kinds], rule
            ).verdict
            for read in ("in", "out")
        }
        assert {verdict} == possible if len(possible) == 1 else verdict == "quarantine"
