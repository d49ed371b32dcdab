import numpy as np
import polars as pl

from ocr_assets.coverage import METRICS, FilterRule
from ocr_assets.reports.examples import (
    ALL_SAMPLES,
    MOST_COVERED,
    NAME_BYTES,
    NEAREST,
    PICTURES_PER_BIN,
    RANDOM_KEPT,
    SHOWN_BYTES,
    choose_examples,
)
from ocr_assets.reports.ratio_bins import bin_edges

RULE = FilterRule(max_area_ratio=0.1)


def day(ratios: list[list[float | None]], **columns: list[str]) -> pl.DataFrame:
    def verdict(videos: list[float | None]) -> str:
        known = [ratio for ratio in videos if ratio is not None]
        if not known:
            return "quarantine"
        return "keep" if any(ratio <= 0.1 for ratio in known) else "drop"

    verdicts = [verdict(videos) for videos in ratios]
    codes = {"keep": "ok", "drop": "above_max_area_ratio", "quarantine": "damaged"}
    return pl.DataFrame(
        {
            **dict.fromkeys(METRICS, ratios),
            "verdict": verdicts,
            "reason_code": [codes[one] for one in verdicts],
            "sample_id": [str(index) for index in range(len(ratios))],
            "paths": [[f"/{index}.mp4" for index in range(len(videos))] for videos in ratios],
            "reason": ["it is so"] * len(ratios),
        },
        schema_overrides={
            **dict.fromkeys(METRICS, pl.List(pl.Float64)),
            **dict.fromkeys(["sample_id", "reason"], pl.String),
            "paths": pl.List(pl.String),
        },
    )


def test_a_small_day_is_shown_whole() -> None:
    examples = choose_examples(day([[0.02], [0.3], [None], []]), RULE)
    assert examples.shown == [0, 1, 2, 3]
    assert examples.most_covered == [(1, 0), (0, 0)]
    assert examples.random_kept == [(0, 0)]
    assert set(examples.pictured) == {(0, 0), (1, 0)}


def test_the_videos_nearest_to_the_threshold_have_pictures_on_both_sides() -> None:
    ratios = np.random.default_rng(1).random(5000)
    examples = choose_examples(day([[float(ratio)] for ratio in ratios]), RULE)
    order = np.argsort(ratios)
    first_above = int((ratios <= 0.1).sum())
    nearest = order[first_above - NEAREST : first_above + NEAREST]
    assert {(int(sample), 0) for sample in nearest} <= set(examples.pictured)


def test_a_large_day_is_shown_by_some_of_every_range_and_has_bounded_pictures() -> None:
    ratios = np.random.default_rng(2).beta(0.3, 5, 50_000)
    samples = day([[float(ratio)] for ratio in ratios] + [[None]] * 500)
    examples = choose_examples(samples, RULE)
    bins = len(bin_edges())
    assert samples.height > ALL_SAMPLES
    assert len(examples.shown) < 12 * bins * len(METRICS)
    most = 4 * NEAREST + MOST_COVERED + RANDOM_KEPT + PICTURES_PER_BIN * bins
    assert 100 < len(examples.pictured) <= most
    shown = np.searchsorted(bin_edges(), ratios[[one for one in examples.shown if one < 50_000]])
    assert set(shown) == set(np.searchsorted(bin_edges(), ratios))
    assert any(one >= 50_000 for one in examples.shown)
    assert {sample for sample, _ in examples.pictured} <= set(examples.shown)


def test_the_choice_is_the_same_every_time() -> None:
    samples = day([[float(ratio)] for ratio in np.random.default_rng(3).random(4000)])
    assert choose_examples(samples, RULE) == choose_examples(samples, RULE)


def test_of_several_videos_the_one_that_matters_is_pictured() -> None:
    examples = choose_examples(day([[0.0, 0.6], [None, 0.4]]), RULE)
    assert examples.most_covered == [(0, 1), (1, 1)]


def test_samples_of_very_many_videos_are_counted_but_not_shown() -> None:
    samples = day([[0.3] * 30_000, [0.2] * 3, [0.0]])
    examples = choose_examples(samples, RULE)
    assert examples.shown == [1, 2]
    assert {sample for sample, _ in examples.pictured} == {1, 2}


def test_samples_with_long_names_are_shown_as_far_as_there_is_room() -> None:
    count = ALL_SAMPLES
    long = ["\u5f71" * 300 if index % 4 else "short" for index in range(count)]
    samples = day([[0.2]] * count).with_columns(
        pl.Series("sample_id", long), paths=pl.concat_list(pl.Series(long))
    )
    examples = choose_examples(samples, RULE)
    short = set(range(0, count, 4))
    assert short < set(examples.shown)
    assert len(examples.shown) * 2 * NAME_BYTES < 2 * SHOWN_BYTES
    assert len(examples.shown) < count


def test_a_day_of_nothing_has_no_examples() -> None:
    examples = choose_examples(day([]), RULE)
    assert (examples.shown, examples.pictured) == ([], [])
