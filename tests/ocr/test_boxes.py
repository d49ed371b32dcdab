import dataclasses
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ocr_assets.ocr.boxes import FARTHEST_PIXELS, BoxError, TextBox, quad_box, rect_box

NAN, INF = float("nan"), float("inf")
places = st.floats(-FARTHEST_PIXELS, FARTHEST_PIXELS)
nowhere = st.sampled_from([NAN, INF, -INF, 1e30, -1e30, 1e308])


@given(st.lists(st.tuples(places, places), min_size=4, max_size=4))
@example([(0, 0)] * 4)
@example([(0, 0), (4, 4), (4, 0), (0, 4)])
@example([(-5, -5), (-1, -5), (-1, -1), (-5, -1)])
def test_four_places_are_a_box_with_an_area_that_is_finite_and_not_negative(
    corners: list[tuple[float, float]],
) -> None:
    (left, top), _, (right, bottom), _ = corners
    for box in (quad_box(corners), rect_box(left, right, top, bottom)):
        assert 0 <= box.area_pixels < INF


@given(st.lists(places, min_size=7, max_size=7), nowhere, st.integers(0, 7))
def test_a_quadrilateral_with_a_coordinate_that_is_nowhere_is_refused(
    coordinates: list[float], bad: float, index: int
) -> None:
    coordinates.insert(index, bad)
    with pytest.raises(BoxError, match="is not on any picture"):
        quad_box(list(zip(coordinates[::2], coordinates[1::2], strict=True)))


@given(st.lists(places, min_size=3, max_size=3), nowhere, st.integers(0, 3))
def test_a_rectangle_with_a_side_that_is_nowhere_is_refused(
    sides: list[float], bad: float, index: int
) -> None:
    sides.insert(index, bad)
    with pytest.raises(BoxError, match="is not on any picture"):
        rect_box(*sides)


@pytest.mark.parametrize("area", [NAN, INF, -INF, -1.0])
def test_an_area_that_is_none_is_refused(area: float) -> None:
    box = rect_box(0, 4, 0, 3)
    changed: dict[str, Any] = dataclasses.asdict(box) | {"area_pixels": area}
    with pytest.raises(BoxError, match="area is finite and at least 0"):
        TextBox(**changed)
