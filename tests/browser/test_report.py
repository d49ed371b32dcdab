"""The coverage report, opened from disk in a browser."""

import argparse
import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from random import Random
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest
import yaml
from playwright.sync_api import Locator, expect

from ocr_assets.commands.arguments import filter_rule
from ocr_assets.commands.explore import add_explore
from ocr_assets.coverage import METRICS, FilterRule, Metric, VideoCoverage
from ocr_assets.definitions import defs
from ocr_assets.reasons import Fault, Status
from ocr_assets.reports.charts import COLOURS_OF_VERDICTS
from tests.browser.conftest import OpenPage
from tests.browser.report_page import ReportPage, changed, expected_rows, open_report
from tests.reports.synthetic_day import DATE, UNREADABLE, Sample, SyntheticDay, coverage

RULE = FilterRule(0.05, 0.3)
ONE_SAMPLE, ALL_QUARANTINED, EMPTY = "one sample", "all quarantined", "empty"
HOSTILE, TINY, JUDGED = "hostile", "tiny threshold", "judged by the assets"
OTHER = (HOSTILE, TINY, JUDGED)
TINY_RULE = FilterRule(0, 1.2e-7)
EXACT = (0.0, 0.05, 0.1, 0.25, 0.3, 0.5, 1.0)
BOUNDS = ((0.0, 1.0), (0.0, 0.1), (0.1, 0.1), (0.25, 0.5), (0.05, 0.3), (0.0, 0.0), (0.999, 1.0))
HOSTILE_NAMES = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "<!--",
    "<!--<script>",
    "]]>",
    "' onerror='alert(1)",
    '" onerror="alert(1)" x="',
    "{{ 7 * 7 }} ${7 * 7}",
    "\u202egnp.exe\u2066",
    "a\nb\x1b[2J\u2028c",
    "&lt;b&gt;&amp;",
    "long" * 400,
]
SHOWN = {
    "long" * 400: "long" * 30,
    "\u202egnp.exe\u2066": r"\u202egnp.exe\u2066",
    "a\nb\x1b[2J\u2028c": r"a\nb\x1b[2J\u2028c",
}


def of_one_video(random: Random) -> list[Sample]:
    """On thresholds, as near to them as can be, above 1, and anywhere; some cannot be read."""
    ratios = [
        ratio
        for exact in EXACT
        for ratio in (exact, np.nextafter(exact, -1), np.nextafter(exact, 2))
        if ratio >= 0
    ]
    ratios += [1.304, 7.5, *(round(random.betavariate(1, 3), 3) for _ in range(40))]
    samples: list[Sample] = [
        (f"one {index:02}.mp4", [coverage(float(ratio), static_of(index, float(ratio)))])
        for index, ratio in enumerate(ratios)
    ]
    faults = (Status.TRUNCATED, Status.MISSING, Status.MISSING, Status.NOT_A_VIDEO)
    return samples + [
        (f"unreadable {index}.mp4", [Fault(status, f"it is {status}")])
        for index, status in enumerate(faults)
    ]


def static_of(index: int, ratio: float) -> float | None:
    """Of every fifth video one frame was sampled."""
    return None if index % 5 == 0 else min(ratio, 1)


def of_several_videos(random: Random) -> list[Sample]:
    def video() -> VideoCoverage | Fault:
        if random.random() < 0.25:
            return UNREADABLE
        area, union, zone, corner, centre, static = (
            random.choice([*EXACT, random.random()]) for _ in range(6)
        )
        known = random.random() < 0.8
        return VideoCoverage(
            area, union, max(union, area), zone, corner, centre, static if known else None
        )

    return [
        (f"several {index:02}", [video() for _ in range(random.choice([2, 3]))])
        for index in range(60)
    ] + [("none", [])]


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SyntheticDay]:
    return {
        name: SyntheticDay(tmp_path_factory.mktemp("report"))
        for name in ("of one", "of several", ONE_SAMPLE, ALL_QUARANTINED, EMPTY, *OTHER)
    }


@pytest.fixture(scope="module")
def reports(days: dict[str, SyntheticDay]) -> dict[str, Path]:
    """All that is opened, made before the browser is: that and Dagster share no event loop."""
    of_one = of_one_video(Random(0))
    days["of one"].write(of_one, RULE)
    bad = [("bad sample", Fault(Status.BAD_SAMPLE, "it is no JSON"))]
    several = [*of_one[:20], *of_several_videos(Random(1))]
    days["of several"].write(several, RULE, faulty_samples=bad)
    days[ONE_SAMPLE].write([("only.mp4", [coverage(0.2)])], RULE)
    days[ALL_QUARANTINED].write([(f"{i}.mp4", [UNREADABLE]) for i in range(30)], RULE)
    days[EMPTY].write([], RULE)
    hostile: list[Sample] = [
        (f"{name}{kind}", [video])
        for name in HOSTILE_NAMES
        for kind, video in (
            ("", coverage(0.2)),
            (" dropped", coverage(0.4)),
            (" bad", Fault(Status.DAMAGED, f"it is {name}")),
        )
    ]
    days[HOSTILE].write(hostile, RULE)
    days[TINY].write([(f"{ratio}", [coverage(ratio)]) for ratio in (0, 1.2e-7, 1.3e-7)], TINY_RULE)
    ratios = (0.02, 0.07, 0.15, 0.2, 0.2, 0.25, 0.3, 0.35)
    days[JUDGED].write([(f"{i}.mp4", [coverage(ratio)]) for i, ratio in enumerate(ratios)], RULE)
    days[JUDGED].judge(RULE)
    return {name: day.report() for name, day in days.items()}


Opened = Callable[..., AbstractContextManager[ReportPage]]


@pytest.fixture
def opened(reports: dict[str, Path], open_page: OpenPage, request: pytest.FixtureRequest) -> Opened:
    def opened(day: str, step: str = "", **options: Any) -> AbstractContextManager[ReportPage]:
        return open_report(open_page, reports[day], f"{request.node.name} {step}", RULE, **options)

    return opened


@pytest.fixture
def several(opened: Opened) -> Iterator[ReportPage]:
    with opened("of several") as report:
        yield report


def assert_counted(report: ReportPage, day: SyntheticDay) -> None:
    """What the page says is what the dataset says."""
    moves = day.moves(report.rule())
    assert report.rows() == expected_rows(moves)
    assert report.changed() == changed(moves)


@pytest.mark.parametrize("metric", METRICS)
def test_counts_are_those_of_a_query_of_the_dataset(
    days: dict[str, SyntheticDay], opened: Opened, metric: Metric
) -> None:
    ratio = pl.col(metric).list.first()
    dataset = days["of one"].dataset()
    with opened("of one") as report:
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
        assert_counted(several, days["of several"])


def test_thresholds_above_1_are_for_the_ratio_that_can_be_there(
    days: dict[str, SyntheticDay], opened: Opened
) -> None:
    with opened("of one") as report:
        for high in (1.25, 1.5, 10.0):
            report.choose(high=high)
            assert_counted(report, days["of one"])
        report.choose(metric="union_area_ratio")
        assert report.threshold("high") == 1
        report.slider("high").press("End")
        assert report.threshold("high") == 1
        assert_counted(report, days["of one"])


def line(report: ReportPage, name: str) -> tuple[float, float]:
    """The middle of a threshold's line in the chart."""
    lines = report.page.locator("#histogram svg .mark-rule.role-mark line")
    box = lines.nth(["low", "high"].index(name)).bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(report: ReportPage, begin: tuple[float, float], x: float) -> None:
    mouse = report.page.mouse
    mouse.move(*begin)
    mouse.down()
    mouse.move((begin[0] + x) / 2, begin[1])
    mouse.move(x, begin[1])
    mouse.up()


def tick(report: ReportPage, text: str) -> float:
    """Where the horizontal axis has a number."""
    labels = report.page.locator("#histogram svg .role-axis-label text")
    box = labels.filter(has_text=re.compile(rf"^{re.escape(text)}$")).first.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2


def test_thresholds_are_dragged_in_the_chart(
    days: dict[str, SyntheticDay], several: ReportPage
) -> None:
    several.page.locator("#histogram").scroll_into_view_if_needed()
    for name, text in (("high", "0.6"), ("low", "0.2"), ("high", "0.4"), ("low", "0.01")):
        place = tick(several, text)
        drag(several, line(several, name), place)
        assert several.threshold(name) == pytest.approx(float(text), abs=0.01)
        assert line(several, name)[0] == pytest.approx(place, abs=2)
        assert_counted(several, days["of several"])
        several.record(f"{name} at {text}")
    assert several.changed() > 0


def test_a_threshold_is_dragged_no_farther_than_to_the_other(several: ReportPage) -> None:
    several.page.locator("#histogram").scroll_into_view_if_needed()
    drag(several, line(several, "low"), tick(several, "0.8"))
    assert several.threshold("low") == several.threshold("high") == 0.3
    # Of two in one place, the one goes that can go there.
    drag(several, line(several, "low"), tick(several, "0.8"))
    assert several.threshold("low") == 0.3
    assert several.threshold("high") == pytest.approx(0.8, abs=0.02)


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
            assert_counted(several, days["of several"])
        assert several.threshold(name) == pytest.approx(before + 0.002)
        expect(slider).to_have_attribute("aria-valuetext", str(several.threshold(name)))
        for key in ("PageUp", "PageDown", "Home", "End"):
            keyboard.press(key)
            assert_counted(several, days["of several"])


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
    dataset = days["of several"].dataset()
    several.record("thresholds changed", whole=True)
    moves = days["of several"].moves(several.rule())
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


def test_pictures_around_the_threshold_follow_it(opened: Opened) -> None:
    with opened("of one") as report:
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


def test_every_picture_is_there_and_has_its_text(several: ReportPage) -> None:
    assert several.page.locator("img").count() > 20
    assert several.broken_pictures() == []


def test_settings_are_those_that_give_what_is_shown(
    days: dict[str, SyntheticDay], opened: Opened
) -> None:
    with opened("of several") as report:
        report.choose(low=0.001, high=0.25, metric="corner_ratio", any_or_all="all")
        rule = report.rule()
        config = yaml.safe_load(report.page.locator("#yaml").inner_text())
        command = report.page.locator("#command").inner_text()
    assert FilterRule(**config["ops"]["filtered_dataset"]["config"]) == rule
    dg.validate_run_config(defs.resolve_job_def("daily_job"), config)
    words = shlex.split(command)
    parser = argparse.ArgumentParser()
    add_explore(parser.add_subparsers())
    options = parser.parse_args(words[1:])
    assert (words[0], options.date, options.apply) == ("ocr-assets", DATE, True)
    assert options.data == Path(days["of several"].tables.root)
    assert filter_rule(options) == rule


def test_the_command_gives_what_is_shown(days: dict[str, SyntheticDay], opened: Opened) -> None:
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


@pytest.mark.parametrize("width", [400, 1600])
def test_the_page_fits_its_window_and_is_accessible(opened: Opened, width: int) -> None:
    for day in ("of several", HOSTILE, EMPTY):
        with opened(day, f"{day} {width}", width=width) as report:
            report.choose(low=0.1, high=0.25)
            report.page.get_by_label("Show").select_option("all")
            report.record("whole page", whole=True)
            assert report.overflow() <= 0
            assert report.violations() == []


def test_charts_follow_the_window(several: ReportPage) -> None:
    for width in (1600, 700, 400, 1200):
        several.page.set_viewport_size({"width": width, "height": 1100})
        for chart in ("histogram", "heat-map"):
            box, drawn = several.page.locator(f"#{chart}"), several.page.locator(f"#{chart} svg")
            size = box.bounding_box()
            assert size is not None
            expect(drawn).to_have_attribute("width", re.compile(str(round(size["width"]))))
        assert several.overflow() <= 0
        assert_shape(several)


def assert_shape(report: ReportPage) -> None:
    """The heat map is as high as a frame is to its width."""
    report.page.wait_for_function(
        """() => {
            const {width, height} = document.querySelector("#heat-map .mark-rect")
                .getBoundingClientRect();
            return Math.abs(width / height - 16 / 9) < 0.05;
        }"""
    )


def test_headings_are_in_order_and_charts_have_words(several: ReportPage) -> None:
    levels = several.page.locator("h1, h2, h3, h4, h5, h6").evaluate_all(
        "found => found.map(one => Number(one.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert [(a, b) for a, b in itertools.pairwise(levels) if b > a + 1] == []
    several.choose(high=0.5, metric="corner_ratio")
    expect(several.page.locator("#histogram")).to_have_attribute(
        "aria-label", re.compile(r"Histogram of corner_ratio of \d+ videos; kept from 0.05 to 0.5")
    )
    said = several.page.locator("#heat-map").get_attribute("aria-label")
    assert said is not None
    assert re.match(r"Of all sampled frames, at most [\d.]+% have text in one place", said)


def test_colours_are_the_charts_and_never_alone(several: ReportPage) -> None:
    assert COLOURS_OF_VERDICTS == {"keep": "#0072B2", "drop": "#D55E00", "quarantine": "#595959"}
    swatches = several.page.locator(".swatch").evaluate_all(
        """found => found.map(one => [
            one.className.split(" ")[1],
            getComputedStyle(one).backgroundColor,
            one.nextSibling && one.nextSibling.textContent.trim()])"""
    )
    assert len(swatches) > 20
    for verdict, colour, word in swatches:
        assert colour == f"rgb{tuple(bytes.fromhex(COLOURS_OF_VERDICTS[verdict][1:]))}"
        assert word.startswith(verdict.removesuffix("p").removesuffix("e"))
    bars = several.page.locator("#histogram svg .mark-rect path").evaluate_all(
        "found => [...new Set(found.map(one => one.getAttribute('fill')))]"
    )
    assert sorted(bars) == [COLOURS_OF_VERDICTS["keep"], COLOURS_OF_VERDICTS["drop"]]


def test_names_are_text_wherever_they_are(opened: Opened) -> None:
    with opened(HOSTILE) as report:
        page = report.page
        page.get_by_label("Show").select_option("all")
        expect(page.locator("#rows tbody tr")).to_have_count(3 * len(HOSTILE_NAMES))
        report.choose(high=0.5)
        expect(page.locator("#above-title")).to_contain_text("0.5")
        report.record("hostile names", whole=True)
        listed = report.samples_listed()
        alts = page.locator("img").evaluate_all("images => images.map(image => image.alt)")
        reasons = page.locator("#quarantined td:last-child").all_inner_texts()
        cards = page.locator(".frame .path").all_text_contents()
        for name in HOSTILE_NAMES:
            shown = SHOWN.get(name, name)
            for texts in (listed, alts, reasons, cards):
                assert [text for text in texts if shown in text] != [], shown
        assert page.locator("img:not([src^='data:image/jpeg'])").count() == 0
        assert page.locator("[onerror], iframe, object, embed, link, base").count() == 0
        assert page.locator("script").count() == 3
        assert "\u202e" not in page.content()


def test_nothing_can_be_loaded_and_no_other_script_run(opened: Opened) -> None:
    """That it is not tried either is asserted of every page that is opened here."""
    with opened(ONE_SAMPLE) as report:
        policy = report.page.locator("meta[http-equiv=Content-Security-Policy]")
        said = policy.get_attribute("content") or ""
        assert said.startswith("default-src 'none'; ")
        assert "unsafe-eval" not in said
        assert "script-src 'sha256-" in said


@pytest.mark.parametrize("day", [ONE_SAMPLE, ALL_QUARANTINED, EMPTY])
def test_small_days_have_a_page_that_makes_sense(
    days: dict[str, SyntheticDay], opened: Opened, day: str
) -> None:
    with opened(day) as report:
        for metric in METRICS:
            report.choose(metric=metric, low=0.1, high=0.25)
            assert_counted(report, days[day])
            report.page.locator("#reset").click()
        report.page.get_by_label("Show").select_option("all")
        report.record(day, whole=True)
        assert report.broken_pictures() == []
        assert report.overflow() <= 0
        text = report.page.locator("main").inner_text()
        assert [wrong for wrong in ("NaN", "undefined", "null") if wrong in text] == []
        if day == EMPTY:
            expect(report.page.get_by_text("The day has no samples.")).to_be_visible()
        if day != ALL_QUARANTINED:
            expect(report.page.get_by_text("Nothing is quarantined.")).to_be_visible()
        else:
            expect(report.page.get_by_text("truncated: 30")).to_be_visible()
            expect(report.page.get_by_text("the first 20 of them")).to_be_visible()


def test_without_javascript_the_rest_is_readable_and_the_page_says_what_is_missing(
    opened: Opened,
) -> None:
    with opened("of several", javascript=False) as report:
        page = report.page
        report.record("whole page", whole=True)
        said = page.locator("noscript .notice")
        expect(said).to_be_visible()
        assert said.inner_text().startswith("This browser runs no JavaScript here. Missing are ")
        for section in (
            "Most covered",
            "Kept, at random",
            "Quarantined, by reason",
            "What it cost",
        ):
            expect(page.get_by_role("heading", name=section)).to_be_visible()
        for gone in (
            "#settings",
            "#histogram",
            "#around",
            "#samples",
            "#heat-map",
            "#counts .then",
        ):
            assert [one for one in page.locator(gone).all() if one.is_visible()] == []
        expect(page.locator("#most-covered img").first).to_be_visible()
        expect(page.locator("#quarantined tbody tr").first).to_be_visible()
        expect(page.locator("#cost tbody tr").first).to_be_visible()
        expect(page.locator("#counts .now").first).to_be_visible()


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
