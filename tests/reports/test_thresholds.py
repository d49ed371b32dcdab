import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocr_assets.coverage import METRICS, FilterRule, VideoCoverage, judge_sample
from ocr_assets.reasons import Fault, Status
from ocr_assets.reports.ratio_bins import histogram
from ocr_assets.reports.thresholds import (
    VERDICTS,
    Profiles,
    all_profiles,
    profiles,
    threshold_grid,
)

METRIC = "ocr_area_ratio"
GRID = threshold_grid(FilterRule(0.0125, 0.3333))

ratios = st.one_of(
    st.none(), st.floats(0, 1.5), st.sampled_from(GRID.tolist()), st.just(0.0), st.floats(0, 0.01)
)
samples = st.lists(
    st.tuples(st.sampled_from(VERDICTS), st.lists(ratios, min_size=1, max_size=4)),
    min_size=1,
    max_size=20,
)
places = st.integers(0, len(GRID) - 1)


def table(rows: list[tuple[str, list[float | None]]]) -> pl.DataFrame:
    return pl.DataFrame(
        {"verdict": [verdict for verdict, _ in rows], METRIC: [videos for _, videos in rows]},
        schema={"verdict": pl.String, METRIC: pl.List(pl.Float64)},
    )


def judged(videos: list[float | None], rule: FilterRule) -> str:
    known = [
        Fault(Status.DAMAGED, "it is damaged")
        if ratio is None
        else VideoCoverage(**{**dict.fromkeys(METRICS, 0.0), METRIC: ratio})
        for ratio in videos
    ]
    return judge_sample(known, rule).verdict


def counted(summed: Profiles, low: int, high: int, any_or_all: str) -> dict[tuple[str, str], int]:
    """Verdicts in use and then, from the cells alone, as the page counts them."""
    moves: dict[tuple[str, str], int] = {}
    begin = 0
    for now, unread, length, count in zip(
        summed.verdicts, summed.unread, summed.lengths, summed.counts, strict=True
    ):
        cells = summed.cells[begin : begin + int(length)]
        begin += int(length)
        within = int(((cells >= 2 * low) & (cells <= 2 * high)).sum())
        outside = len(cells) - within
        decided = within if any_or_all == "any" else outside
        if decided:
            then = "keep" if any_or_all == "any" else "drop"
        elif unread:
            then = "quarantine"
        else:
            then = "drop" if any_or_all == "any" else "keep"
        key = VERDICTS[now], then
        moves[key] = moves.get(key, 0) + int(count)
    return moves


@given(samples, places, places, st.sampled_from(["any", "all"]))
def test_the_cells_tell_the_verdict_of_every_sample_at_every_threshold(
    rows: list[tuple[str, list[float | None]]], one: int, other: int, any_or_all: str
) -> None:
    low, high = sorted((one, other))
    rule = FilterRule(float(GRID[low]), float(GRID[high]), any_or_all=any_or_all)  # type: ignore[arg-type]
    expected: dict[tuple[str, str], int] = {}
    for now, videos in rows:
        key = now, judged(videos, rule)
        expected[key] = expected.get(key, 0) + 1
    assert counted(profiles(table(rows), METRIC, GRID), low, high, any_or_all) == expected


def test_the_thresholds_in_use_can_be_chosen_whatever_they_are() -> None:
    assert {0.0125, 0.3333, 0.0, 0.05, 1.0, 100.0} <= set(GRID.tolist())
    assert np.all(np.diff(GRID) > 0)
    assert len(threshold_grid(FilterRule(max_area_ratio=float("inf")))) == len(
        threshold_grid(FilterRule())
    )


def test_samples_that_are_alike_are_counted_once() -> None:
    rows = table([("keep", [0.0421])] * 1000 + [("keep", [0.0427])] * 10 + [("drop", [0.0421])])
    summed = profiles(rows, METRIC, GRID)
    assert summed.counts.tolist() == [1010, 1]
    assert summed.cells.tolist() == [summed.cells[0]] * 2


def test_samples_without_videos_are_left_out() -> None:
    assert profiles(table([("keep", [])]), METRIC, GRID).counts.tolist() == []
    assert profiles(table([]), METRIC, GRID).counts.tolist() == []


def test_the_tables_do_not_grow_with_samples_of_one_video() -> None:
    random = np.random.default_rng(0)
    values = random.beta(0.3, 5, 100_000)
    columns = {metric: pl.Series(values).reshape((-1, 1)).arr.to_list() for metric in METRICS}
    day = pl.DataFrame({"verdict": ["keep"] * len(values), **columns})
    encoded = all_profiles(day, GRID)
    size = sum(len(text) for metric in encoded.values() for text in metric.values())
    assert size < 150_000


def test_a_histogram_counts_every_ratio_in_its_bin() -> None:
    edges = [0, 0.05, 0.1, 1]
    assert histogram(pl.Series([0.0, 0.0499, 0.05, 0.999, 1.0, 1.304]), edges) == [2, 1, 3]
    assert histogram(pl.Series([], dtype=pl.Float64), edges) == [0, 0, 0]


@pytest.mark.parametrize(("name", "bytes_each"), [("verdicts", 1), ("cells", 2), ("counts", 4)])
def test_what_the_page_decodes_has_the_widths_that_it_expects(name: str, bytes_each: int) -> None:
    array = getattr(profiles(table([("keep", [0.1])]), METRIC, GRID), name)
    assert array.dtype.itemsize == bytes_each
    assert len(list(itertools.chain(array))) == 1
