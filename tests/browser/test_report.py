"""The coverage report, opened from disk in a browser: what it counts, and how it is used."""

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path
from random import Random

import dagster as dg
import polars as pl
import pytest
import yaml
from playwright.sync_api import Locator, expect

from ocr_assets.commands.arguments import filter_rule
from ocr_assets.commands.explore import add_explore
from ocr_assets.configured import value_set
from ocr_assets.coverage import METRICS, FilterRule, Metric
from ocr_assets.definitions import defs
from ocr_assets.reasons import Fault, Status
from tests.browser.conftest import OpenPage, OpenReport
from tests.browser.report_days import RULE, of_one_video, of_several_videos
from tests.browser.report_page import (
    ReportPage,
    assert_counted,
    changed,
    open_report,
)
from tests.reports.synthetic_day import DATE, SyntheticDay, coverage

OF_ONE, OF_SEVERAL, TINY, JUDGED = "of one", "of several", "tiny threshold", "judged by the assets"
TINY_RULE = FilterRule(0, 1.2e-7)
BOUNDS = ((0.0, 1.0), (0.0, 0.1), (0.1, 0.1), (0.25, 0.5), (0.05, 0.3), (0.0, 0.0), (0.999, 1.0))


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SyntheticDay]:
    names = (OF_ONE, OF_SEVERAL, TINY, JUDGED)
    return {name: SyntheticDay(tmp_path_factory.mktemp("report")) for name in names}


@pytest.fixture(scope="module")
def reports(days: dict[str, SyntheticDay]) -> dict[str, Path]:
    """All that is opened, made before the browser is: that and Dagster share no event loop."""
    of_one = of_one_video(Random(0))
    days[OF_ONE].write(of_one, RULE)
    bad = [("bad sample", Fault(Status.BAD_SAMPLE, "it is no JSON"))]
    several = [*of_one[:20], *of_several_videos(Random(1))]
    days[OF_SEVERAL].write(several, RULE, faulty_samples=bad)
    days[TINY].write([(f"{ratio}", [coverage(ratio)]) for ratio in (0, 1.2e-7, 1.3e-7)], TINY_RULE)
    ratios = (0.02, 0.07, 0.15, 0.2, 0.2, 0.25, 0.3, 0.35)
    days[JUDGED].write([(f"{i}.mp4", [coverage(ratio)]) for i, ratio in enumerate(ratios)], RULE)
    days[JUDGED].judge(RULE)
    return {name: day.report() for name, day in days.items()}


@pytest.mark.parametrize("metric", METRICS)
def test_counts_are_those_of_a_query_of_the_dataset(
    days: dict[str, SyntheticDay], opened: OpenReport, metric: Metric
) -> None:
    ratio = pl.col(metric).list.first()
    dataset = days[OF_ONE].dataset()
    with opened(OF_ONE) as report:
        report.choose(metric=metric)
        for low, high in BOUNDS:
            report.choose(low=low, high=high)
            verdict = (
                pl.when(ratio.is_null())
                .then(pl.lit("quarantine"))
                .when(ratio.is_between(low, high, closed="both"))
                .then(pl.lit("keep"))
                .otherwise(pl.lit("drop"))
            )
            then = dict(dataset.group_by(verdict.alias("then")).len().iter_rows())
            rows = report.rows()
            assert {name: row.then for name, row in rows.items() if row.then} == then
            assert report.changed() == dataset.filter(pl.col("verdict") != verdict).height
            come = dataset.filter(verdict == "keep", pl.col("verdict") != "keep").height
            go = dataset.filter(verdict != "keep", pl.col("verdict") == "keep").height
            assert (rows["keep"].come, rows["keep"].go) == (come, go)


@pytest.mark.parametrize("any_or_all", ["any", "all"])
@pytest.mark.parametrize("metric", METRICS)
def test_samples_of_several_videos_are_judged_as_the_dataset_is(
    days: dict[str, SyntheticDay], several: ReportPage, metric: str, any_or_all: str
) -> None:
    several.choose(metric=metric, any_or_all=any_or_all)
    for low, high in BOUNDS:
        several.choose(low=low, high=high)
        assert several.rule() == FilterRule(low, high, metric, any_or_all)  # type: ignore[arg-type]
        assert_counted(several, days[OF_SEVERAL])


def test_thresholds_above_1_are_for_the_ratio_that_can_be_there(
    days: dict[str, SyntheticDay], opened: OpenReport
) -> None:
    with opened(OF_ONE) as report:
        for high in (1.25, 1.5, 10.0):
            report.choose(high=high)
            assert_counted(report, days[OF_ONE])
        report.choose(metric="union_area_ratio")
        assert report.threshold("high") == 1
        report.slider("high").press("End")
        assert report.threshold("high") == 1
        assert_counted(report, days[OF_ONE])


def test_thresholds_are_dragged_in_the_chart(
    days: dict[str, SyntheticDay], several: ReportPage
) -> None:
    for name, text in (("high", "0.6"), ("low", "0.2"), ("high", "0.4"), ("low", "0.01")):
        several.drag(name, text)
        assert several.threshold(name) == pytest.approx(float(text), abs=0.01)
        assert several.line(name)[0] == pytest.approx(several.tick(text), abs=2)
        assert_counted(several, days[OF_SEVERAL])
        several.record(f"{name} at {text}")
    assert several.changed() > 0


def test_a_threshold_is_dragged_no_farther_than_to_the_other(several: ReportPage) -> None:
    several.drag("low", "0.8")
    assert several.threshold("low") == several.threshold("high") == 0.3
    # Of two in one place, the one goes that can go there.
    several.drag("low", "0.8")
    assert several.threshold("low") == 0.3
    assert several.threshold("high") == pytest.approx(0.8, abs=0.02)


def test_a_click_in_the_chart_moves_no_threshold(several: ReportPage) -> None:
    several.page.locator("#histogram").scroll_into_view_if_needed()
    y = several.line("high")[1]
    several.page.mouse.click(several.tick("0.8"), y)
    # Nor is it held by a button that is up again.
    several.page.mouse.move(several.tick("0.4"), y)
    assert several.rule() == RULE


def test_thresholds_are_moved_with_the_keyboard_alone(
    days: dict[str, SyntheticDay], several: ReportPage
) -> None:
    keyboard = several.page.keyboard
    for name in ("high", "low"):
        for _ in range(40):
            keyboard.press("Tab")
            if several.page.evaluate("document.activeElement.id") == name:
                break
        slider = several.slider(name)
        expect(slider).to_be_focused()
        outline = slider.evaluate(
            "one => [getComputedStyle(one).outlineStyle, getComputedStyle(one).outlineWidth]"
        )
        assert outline == ["solid", "3px"]
        several.record(f"{name} has the focus")
        before = several.threshold(name)
        for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft"):
            keyboard.press(key)
            assert_counted(several, days[OF_SEVERAL])
        assert several.threshold(name) == pytest.approx(before + 0.002)
        expect(slider).to_have_attribute("aria-valuetext", str(several.threshold(name)))
        for key in ("PageUp", "PageDown", "Home", "End"):
            keyboard.press(key)
            assert_counted(several, days[OF_SEVERAL])


def test_counts_are_announced_when_the_hand_rests(several: ReportPage) -> None:
    said = several.page.locator("#said")
    expect(said).to_have_attribute("role", "status")
    several.choose(high=0.5)
    rows = several.rows()
    expect(said).to_have_text(
        f"{rows['keep'].then} kept, {rows['drop'].then} dropped, "
        f"{rows['quarantine'].then} quarantined. {several.page.locator('#changed').inner_text()}"
    )


def test_samples_that_change_side_are_listed(
    days: dict[str, SyntheticDay], several: ReportPage
) -> None:
    expect(several.page.get_by_text("None.", exact=True)).to_be_visible()
    several.choose(low=0.1, high=0.25)
    dataset = days[OF_SEVERAL].dataset()
    several.record("thresholds changed", whole=True)
    moves = days[OF_SEVERAL].moves(several.rule())
    expect(several.page.locator("#rows tbody tr")).to_have_count(changed(moves))
    listed = dict(zip(several.samples_listed(), sides(several), strict=True))
    before = dict(dataset.select("sample_id", "verdict").iter_rows())
    assert [
        name for name, (now, then) in listed.items() if now != before[name] or now == then
    ] == []
    for which in ("keep", "drop", "quarantine", "all"):
        several.page.get_by_label("Show").select_option(which)
        count = sum(moves.values()) if which == "all" else several.rows()[which].then
        expect(several.page.locator("#shown")).to_contain_text(f" of {count}, ")
        expect(several.page.locator("#rows tbody tr")).to_have_count(count)
        assert which == "all" or {then for _, then in sides(several)} == {which}


def sides(report: ReportPage) -> list[tuple[str, str]]:
    """What the listed samples are, and would be."""
    cells = report.page.locator("#rows tbody td.verdict").all_inner_texts()
    return list(zip(cells[::2], cells[1::2], strict=True))


def test_one_can_go_back_to_what_is_in_use(several: ReportPage) -> None:
    before = several.rows()
    several.choose(low=0.2, high=0.9, metric="static_text_ratio", any_or_all="all")
    assert several.rows() != before
    expect(several.page.locator("#histogram")).to_contain_text("static_text_ratio")
    several.page.get_by_role("button", name="Back to the thresholds in use").click()
    assert several.rule() == RULE
    assert several.rows() == before
    assert several.changed() == 0
    expect(several.page.locator("#histogram")).to_contain_text("ocr_area_ratio")


def test_pictures_around_the_threshold_follow_it(opened: OpenReport) -> None:
    with opened(OF_ONE) as report:
        shown = []
        for high in (0.1, 0.5, 0.999):
            report.choose(high=high)
            expect(report.page.locator("#above-title")).to_contain_text(f"Just above {high}, ")
            for ratios, is_there in (
                (ratios_of(report.page.locator("#above figcaption")), high.__lt__),
                (ratios_of(report.page.locator("#below figcaption")), high.__ge__),
            ):
                assert ratios != []
                assert [ratio for ratio in ratios if not is_there(ratio)] == []
                assert ratios == sorted(ratios, key=lambda ratio: abs(ratio - high))
            shown.append(report.page.locator("#around .name").all_inner_texts())
            assert report.broken_pictures() == []
        assert len({tuple(names) for names in shown}) == 3
        report.choose(low=0.05)
        expect(report.page.locator("#above-title")).to_contain_text("the least ratio that is kept")


def ratios_of(captions: Locator) -> list[float]:
    return [
        float(re.search(r"(?:keep|drop|quarantine), ([\d.]+)", text)[1])  # type: ignore[index]
        for text in captions.all_inner_texts()
    ]


def test_every_picture_is_there_with_its_text_and_its_own_path(several: ReportPage) -> None:
    assert several.page.locator("img").count() > 20
    assert several.broken_pictures() == []
    figures = several.page.locator("figure.frame")
    alts = figures.locator("img").evaluate_all("all => all.map(image => image.alt)")
    paths = figures.locator(".path").all_inner_texts()
    assert [path for path, alt in zip(paths, alts, strict=True) if f" of {path}: " not in alt] == []
    # Samples of several videos are among them, and not only by their first one.
    assert [path for path in paths if path.startswith(("/videos/1", "/videos/2"))] != []


def test_what_is_copied_is_said_beside_the_button(several: ReportPage) -> None:
    for name, copied in (
        ("Copy the YAML", "yaml"),
        ("Copy the command", "command"),
        ("Copy the variables", "environment"),
    ):
        button = several.page.get_by_role("button", name=name)
        button.click()
        expect(button.locator("xpath=following-sibling::*[@role='status']")).to_have_text("Copied.")
        said = several.page.locator(f"#{copied}").inner_text()
        assert several.page.evaluate("getSelection().toString()").strip() == said.strip()


def test_settings_are_those_that_give_what_is_shown(
    days: dict[str, SyntheticDay], opened: OpenReport
) -> None:
    with opened(OF_SEVERAL) as report:
        report.choose(low=0.001, high=0.25, metric="corner_ratio", any_or_all="all")
        rule = report.rule()
        config = yaml.safe_load(report.page.locator("#yaml").inner_text())
        command = report.page.locator("#command").inner_text()
        environment = report.page.locator("#environment").inner_text()
    with pytest.MonkeyPatch.context() as services:
        for line in environment.split():
            services.setenv(*line.split("="))
        assert value_set(FilterRule, "filtered_dataset") == rule
    assert FilterRule(**config["ops"]["filtered_dataset"]["config"]) == rule
    dg.validate_run_config(defs.resolve_job_def("daily_job"), config)
    words = shlex.split(command)
    parser = argparse.ArgumentParser()
    add_explore(parser.add_subparsers())
    options = parser.parse_args(words[1:])
    assert (words[0], options.date, options.apply) == ("ocr-assets", DATE, True)
    assert options.data == str(days[OF_SEVERAL].tables.root)
    assert filter_rule(options, FilterRule()) == rule


def test_the_command_gives_what_is_shown(days: dict[str, SyntheticDay], opened: OpenReport) -> None:
    """It is run as it is shown, on a day that the assets have judged."""
    day = days[JUDGED]
    with opened(JUDGED) as report:
        report.choose(high=0.2)
        assert_counted(report, day)
        shown = {verdict: row.then for verdict, row in report.rows().items()}
        before = {verdict: row.now for verdict, row in report.rows().items()}
        command = report.page.locator("#command").inner_text()
    assert shown != before
    done = subprocess.run(
        [sys.executable, "-m", "ocr_assets.cli", *shlex.split(command)[1:]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    dataset = day.dataset()
    assert {
        verdict: dataset.filter(pl.col("verdict") == verdict).height for verdict in shown
    } == shown
    with opened(JUDGED, "after the command") as report:  # it makes the report anew
        assert report.rule() == FilterRule(0.05, 0.2)
        assert {verdict: row.now for verdict, row in report.rows().items()} == shown


def test_a_threshold_of_a_rule_is_one_to_choose_and_is_written_without_an_exponent(
    days: dict[str, SyntheticDay], reports: dict[str, Path], open_page: OpenPage
) -> None:
    with open_report(open_page, reports[TINY], "tiny threshold", TINY_RULE) as report:
        assert report.threshold("high") == TINY_RULE.max_area_ratio
        assert report.page.locator("#high-value").inner_text() == "0.00000012"
        config = yaml.safe_load(report.page.locator("#yaml").inner_text())
        rule = config["ops"]["filtered_dataset"]["config"]
        assert FilterRule(**rule) == TINY_RULE
        assert_counted(report, days[TINY])
        report.choose(metric="union_area_ratio")
        report.page.locator("#reset").click()
        assert report.rule() == TINY_RULE
