"""The coverage report's page: how it looks, reads and sounds, whatever day it is of."""

import itertools
import re
from pathlib import Path
from random import Random

import pytest
from playwright.sync_api import expect

from ocr_assets.coverage import METRICS
from ocr_assets.reports.charts import COLOURS_OF_VERDICTS
from tests.browser.conftest import OpenReport
from tests.browser.report_days import (
    HOSTILE_NAMES,
    RULE,
    of_hostile_names,
    of_one_video,
    of_several_videos,
)
from tests.browser.report_page import ReportPage, assert_counted
from tests.reports.synthetic_day import UNREADABLE, SyntheticDay, coverage

OF_SEVERAL, HOSTILE, ONE_SAMPLE = "of several", "hostile names", "one sample"
ALL_QUARANTINED, EMPTY = "all quarantined", "empty"
SHOWN = {
    "long" * 400: "long" * 30,
    "\u202egnp.exe\u2066": r"\u202egnp.exe\u2066",
    "a\nb\x1b[2J\u2028c": r"a\nb\x1b[2J\u2028c",
}


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SyntheticDay]:
    samples = {
        OF_SEVERAL: [*of_one_video(Random(0))[:20], *of_several_videos(Random(1))],
        HOSTILE: of_hostile_names(),
        ONE_SAMPLE: [("only.mp4", [coverage(0.2)])],
        ALL_QUARANTINED: [(f"{index}.mp4", [UNREADABLE]) for index in range(30)],
        EMPTY: [],
    }
    days = {}
    for name, of_the_day in samples.items():
        days[name] = SyntheticDay(tmp_path_factory.mktemp("report"))
        days[name].write(of_the_day, RULE)
    return days


@pytest.fixture(scope="module")
def reports(days: dict[str, SyntheticDay]) -> dict[str, Path]:
    """All that is opened, made before the browser is: that and Dagster share no event loop."""
    return {name: day.report() for name, day in days.items()}


@pytest.mark.parametrize("width", [400, 1600])
def test_the_page_fits_its_window_and_is_accessible(opened: OpenReport, width: int) -> None:
    for day in (OF_SEVERAL, HOSTILE, EMPTY):
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


def test_names_are_text_wherever_they_are(opened: OpenReport) -> None:
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


def test_nothing_can_be_loaded_and_no_other_script_run(opened: OpenReport) -> None:
    """That it is not tried either is asserted of every page that is opened here."""
    with opened(ONE_SAMPLE) as report:
        policy = report.page.locator("meta[http-equiv=Content-Security-Policy]")
        said = policy.get_attribute("content") or ""
        assert said.startswith("default-src 'none'; ")
        assert "unsafe-eval" not in said
        assert "script-src 'sha256-" in said


@pytest.mark.parametrize("day", [ONE_SAMPLE, ALL_QUARANTINED, EMPTY])
def test_small_days_have_a_page_that_makes_sense(
    days: dict[str, SyntheticDay], opened: OpenReport, day: str
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
            ticks = report.page.locator("#histogram .role-axis-label text").all_text_contents()
            assert ticks[-2:] == ["0", "1"]
            expect(report.page.get_by_text("The day has no samples.")).to_be_visible()
        if day != ALL_QUARANTINED:
            expect(report.page.get_by_text("Nothing is quarantined.")).to_be_visible()
        else:
            expect(report.page.get_by_text("truncated: 30")).to_be_visible()
            expect(report.page.get_by_text("the first 20 of them")).to_be_visible()


def test_without_javascript_the_rest_is_readable_and_the_page_says_what_is_missing(
    opened: OpenReport,
) -> None:
    with opened(OF_SEVERAL, javascript=False) as report:
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
