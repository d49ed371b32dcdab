from collections.abc import Sequence

import polars as pl
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from ocr_assets.coverage import union_area_ratio
from ocr_assets.ocr.boxes import TextBox, quad_box, rect_box
from ocr_assets.tables.box_columns import boxes_column
from ocr_assets.text_places import STATIC, ZONES, place_ratios

WIDTH, HEIGHT = 400, 200
MARK = rect_box(300, 390, 5, 25)
PLACE_RATIOS = (*ZONES, STATIC)


def frames(*videos: Sequence[Sequence[TextBox]]) -> pl.DataFrame:
    rows = [(f"v{number}", boxes) for number, video in enumerate(videos) for boxes in video]
    return pl.DataFrame(
        {
            "video_id": [video_id for video_id, _ in rows],
            "width": [WIDTH] * len(rows),
            "height": [HEIGHT] * len(rows),
            "boxes": boxes_column([boxes for _, boxes in rows]),
            "union_area_ratio": [union_area_ratio(boxes, WIDTH, HEIGHT) for _, boxes in rows],
        }
    )


def ratios(*video: Sequence[TextBox]) -> dict[str, float | None]:
    (row,) = place_ratios(frames(video)).select(PLACE_RATIOS).to_dicts()
    return row


def moved(box: TextBox, x: float, y: float) -> TextBox:
    (left, top), _, (right, bottom), _ = box.points
    return rect_box(left + x, right + x, top + y, bottom + y)


def test_text_counts_in_the_zones_it_lies_in_as_a_share_of_the_whole_frame() -> None:
    # 200 x 40 pixels of subtitle, half of it below the line at three quarters of the height.
    across_the_line = ratios([rect_box(100, 300, 130, 170)])
    assert across_the_line["subtitle_zone_ratio"] == pytest.approx(200 * 20 / 80_000)
    assert across_the_line["centre_ratio"] == pytest.approx(200 * 20 / 80_000)
    assert across_the_line["corner_ratio"] == 0
    in_a_bottom_corner = ratios([rect_box(0, 50, 160, 200)])
    assert in_a_bottom_corner["corner_ratio"] == pytest.approx(50 * 40 / 80_000)
    assert in_a_bottom_corner["subtitle_zone_ratio"] == pytest.approx(50 * 40 / 80_000)


def test_the_whole_frame_fills_every_zone() -> None:
    whole = ratios([rect_box(-5, WIDTH + 5, -5, HEIGHT + 5)])
    assert [whole[name] for name in PLACE_RATIOS[:3]] == pytest.approx([0.25, 0.25, 0.25])


def test_zones_are_means_over_the_frames_and_overlaps_count_once() -> None:
    subtitle = rect_box(100, 300, 160, 180)
    result = ratios([subtitle, subtitle], [], [quad_box([*subtitle.points])], [])
    assert result["subtitle_zone_ratio"] == pytest.approx(200 * 20 / 80_000 / 2)


def test_a_watermark_is_static_and_the_subtitle_beside_it_is_not() -> None:
    subtitles = [rect_box(100 + 20 * n, 300 - 15 * n, 160, 185) for n in range(3)]
    jitter = [(0, 0), (2, -1), (-2, 2)]
    result = ratios(
        *([subtitle, moved(MARK, *by)] for subtitle, by in zip(subtitles, jitter, strict=True))
    )
    assert result["static_text_ratio"] == pytest.approx(MARK.area_pixels / 80_000)


def test_text_that_one_frame_lacks_is_not_static() -> None:
    assert ratios([MARK], [MARK], [])["static_text_ratio"] == 0
    assert ratios([MARK], [moved(MARK, 0, 60)])["static_text_ratio"] == 0
    # The frame with the least text lacks it, and has another one.
    assert ratios([MARK, rect_box(0, 40, 0, 20)], [rect_box(0, 40, 0, 20)])[
        "static_text_ratio"
    ] == pytest.approx(800 / 80_000)


def test_credits_that_scroll_are_not_static() -> None:
    rolling = [
        [rect_box(100, 300, y - step, y + 20 - step) for y in (50, 90, 130)] for step in (0, 13, 27)
    ]
    assert ratios(*rolling)["static_text_ratio"] == 0


def test_one_frame_does_not_tell_what_is_static() -> None:
    assert ratios([MARK])["static_text_ratio"] is None
    assert ratios([MARK])["corner_ratio"] == pytest.approx(90 * 20 / 80_000)


def test_places_are_compared_as_shares_where_the_size_changes_within_a_video() -> None:
    day = frames([[MARK], [rect_box(600, 780, 10, 50)]])
    twice = pl.Series([1, 2])
    day = day.with_columns(width=WIDTH * twice, height=HEIGHT * twice)
    day = day.with_columns(union_area_ratio=pl.lit(MARK.area_pixels / 80_000))
    (static,) = place_ratios(day)["static_text_ratio"]
    assert static == pytest.approx(MARK.area_pixels / 80_000)


def test_videos_keep_their_order_and_those_without_text_have_none() -> None:
    result = place_ratios(frames([[], []], [[MARK], [MARK]], [[]]))
    assert result["video_id"].to_list() == ["v0", "v1", "v2"]
    assert result["corner_ratio"].to_list() == pytest.approx([0, 1800 / 80_000, 0])
    assert result["static_text_ratio"].to_list() == [0, pytest.approx(1800 / 80_000), None]
    assert place_ratios(frames()).is_empty()


def test_coordinates_that_are_no_numbers_give_no_ratio() -> None:
    day = frames([[MARK], [MARK]])
    broken = day.with_columns(
        boxes=boxes_column([[MARK], [MARK]]).list.eval(
            pl.element().struct.with_fields(
                pl.lit([[float("nan")] * 2] * 4).alias("points"),
            )
        )
    )
    assert place_ratios(broken)["corner_ratio"].is_nan().all()


lengths = st.integers(1, 120)
rects = st.builds(
    lambda x, y, width, height: rect_box(x, x + width, y, y + height),
    st.integers(-30, WIDTH),
    st.integers(-30, HEIGHT),
    lengths,
    lengths,
)
quads = st.builds(
    lambda x, y, width, height, slant: quad_box(
        [(x, y), (x + width, y + slant), (x + width, y + height + slant), (x, y + height)]
    ),
    st.integers(-30, WIDTH),
    st.integers(-30, HEIGHT),
    lengths,
    lengths,
    st.integers(1, 9),
)


@given(st.lists(st.lists(st.one_of(rects, quads), max_size=6), min_size=1, max_size=4))
def test_zones_are_what_is_left_of_the_boxes_within_them(video: list[list[TextBox]]) -> None:
    """By cutting the zones out of the plane, one frame at a time."""
    result = ratios(*video)
    zones = {
        "subtitle_zone_ratio": [(0, 150, 400, 200)],
        "corner_ratio": [
            (0, 0, 100, 50),
            (300, 0, 400, 50),
            (0, 150, 100, 200),
            (300, 150, 400, 200),
        ],
        "centre_ratio": [(100, 50, 300, 150)],
    }
    for name, places in zones.items():
        zone = shapely.union_all([shapely.box(*place) for place in places])
        shares = [
            shapely.union_all([shapely.Polygon(box.points) for box in boxes])
            .intersection(zone)
            .area
            / 80_000
            for boxes in video
        ]
        assert result[name] == pytest.approx(sum(shares) / len(shares), abs=1e-9)
    if len(video) > 1:
        most = max(union_area_ratio(boxes, WIDTH, HEIGHT) for boxes in video)
        assert 0 <= (result["static_text_ratio"] or 0) <= most + 1e-9
