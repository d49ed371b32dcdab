"""A report of 100,000 samples: every count is exact, and the file stays small."""

import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from playwright.sync_api import expect

from ocr_assets.coverage import METRICS, FilterRule
from ocr_assets.tables.schemas import DROP, KEEP, QUARANTINE, FilteredDataset
from ocr_assets.verdicts import rule_text
from tests.browser.conftest import OpenPage
from tests.browser.report_page import ReportPage, changed, expected_rows, open_report
from tests.reports.synthetic_day import DATE, Moves, SyntheticDay, coverage

pytestmark = pytest.mark.slow

SAMPLES = 100_000
MOST_BYTES = 15_000_000
RULE = FilterRule(0.0, 0.1)
# Milliseconds from a slider's event to when the counts are in the page; the chart follows.
UPDATE_MILLISECONDS = """async count => {
    const times = [];
    const slider = document.getElementById("high");
    for (let index = 0; index < count; index++) {
        slider.value = Number(slider.value) + 1;
        const begin = performance.now();
        slider.dispatchEvent(new Event("input", {bubbles: true}));
        times.push(performance.now() - begin);
        await new Promise(requestAnimationFrame);
    }
    return times;
}"""


@dataclass(frozen=True)
class Made:
    day: SyntheticDay
    report: Path


@pytest.fixture(scope="module")
def large_days(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Made]:
    """By the videos of a sample; made before the browser is: that and Dagster share no event loop.

    A few samples are written as ever, and all others are put in beside them.
    """
    made = {}
    for videos in (1, 3):
        day = SyntheticDay(tmp_path_factory.mktemp("large"))
        few = [(f"{index}.mp4", [coverage(index / 100)]) for index in range(100)]
        day.write(few, RULE)
        rows = pl.concat([day.dataset(), many(SAMPLES - len(few), videos)])
        rows = rows.drop("date").with_columns(sample_index=pl.int_range(pl.len()))
        with day.tables.filtered_dataset.replace(DATE) as writer:
            writer.append(rows)
        began = time.perf_counter()
        made[videos] = Made(day, day.report())
        print(f"{videos} a sample: made in {time.perf_counter() - began:.1f} s")
    return made


def many(samples: int, videos: int, seed: int = 0) -> pl.DataFrame:
    """Samples with any ratios, some exactly on thresholds; one video in 50 is unreadable."""
    random = np.random.default_rng(seed)
    unread = random.random((samples, videos)) < 0.02
    exact = random.random((samples, videos)) < 0.3
    columns = {}
    for metric in METRICS:
        ratios = random.beta(0.5, 4, (samples, videos))
        ratios = np.where(exact, ratios.round(3), ratios)
        nulls = unread | (random.random((samples, videos)) < 0.1 * (metric == METRICS[-1]))
        flat = pl.Series(np.where(nulls, np.nan, ratios).ravel()).fill_nan(None)
        columns[metric] = flat.reshape((samples, videos)).arr.to_list()
    ids = [f"2026-01-31/of_many/{index:06}.mp4" for index in range(samples)]
    paths = [[f"/videos/{one}" for _ in range(videos)] for one in ids]
    rows = pl.DataFrame(
        {
            "date": [DATE] * samples,
            "sample_id": ids,
            "sample_index": range(samples),
            "video_ids": paths,
            "paths": paths,
            "path_bytes": [[None] * videos] * samples,
            **columns,
            "reason_code": "ok",
            "reason": "it is one of many",
            "rule": rule_text(RULE),
            "sample_json": "{}",
        },
        schema_overrides={"path_bytes": pl.List(pl.Binary), "sample_index": pl.Int64},
    )
    rows = rows.with_columns(verdict=then(RULE))
    return rows.select(FilteredDataset.column_names())


def then(rule: FilterRule) -> pl.Expr:
    """What becomes of samples by a rule."""
    ratio, among = pl.element(), pl.col(rule.metric).list
    within = among.eval(ratio.is_between(rule.min_area_ratio, rule.max_area_ratio, closed="both"))
    some_within = within.list.any()
    some_outside = within.list.eval(~ratio).list.any()
    some_unread = among.eval(ratio.is_null()).list.any()
    settled = some_within if rule.any_or_all == "any" else some_outside
    return (
        pl.when(settled)
        .then(pl.lit(KEEP if rule.any_or_all == "any" else DROP))
        .when(some_unread)
        .then(pl.lit(QUARANTINE))
        .when(some_outside)
        .then(pl.lit(DROP))
        .otherwise(pl.lit(KEEP))
    )


def moves(dataset: pl.DataFrame, rule: FilterRule) -> Moves:
    counted = dataset.group_by("verdict", then(rule).alias("then")).len()
    return Counter({(before, after): count for before, after, count in counted.iter_rows()})


@pytest.mark.parametrize("videos", [1, 3])
def test_counts_of_a_large_day_are_exact_and_its_report_is_small(
    large_days: dict[int, Made], open_page: OpenPage, videos: int
) -> None:
    dataset, path = large_days[videos].day.dataset(), large_days[videos].report
    size = path.stat().st_size
    print(f"{size / 1e6:.1f} MB")
    assert size < MOST_BYTES
    name = f"large day, {videos} a sample"
    with open_report(open_page, path, name, RULE) as report:
        for metric in METRICS:
            for any_or_all in ("any", "all"):
                for low, high in ((0.0, 0.1), (0.013, 0.37), (0.2, 0.2)):
                    choose(report, low, high, metric, any_or_all)
                    expected = moves(dataset, report.rule())
                    assert report.rows() == expected_rows(expected)
                    assert report.changed() == changed(expected)
        expect(report.page.locator("#shown")).to_contain_text(
            re.compile(r"of the day's 100,000 samples \d,\d{3} are shown by name")
        )
        report.record("thresholds changed", whole=True)
        assert report.broken_pictures() == []
        assert report.overflow() <= 0
        report.page.locator("#reset").click()
        times = report.page.evaluate(UPDATE_MILLISECONDS, 50)
    print(f"{name}: {size / 1e6:.1f} MB, {np.median(times):.1f} ms, at most {max(times):.1f} ms")


def choose(report: ReportPage, low: float, high: float, metric: str, any_or_all: str) -> None:
    report.choose(low=low, high=high, metric=metric)
    if report.page.get_by_label(any_or_all, exact=True).is_visible():  # there are several videos
        report.choose(any_or_all=any_or_all)
