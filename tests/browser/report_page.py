"""A coverage report in a browser, as someone moves its thresholds.

with open_report(open_page, path, "name") as report:
    report.choose(low=0.05, high=0.2, metric="union_area_ratio")
    report.moves()
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Locator, Page, expect

from ocr_assets.coverage import FilterRule
from ocr_assets.reports.thresholds import threshold_grid
from ocr_assets.tables.schemas import DROP, KEEP, QUARANTINE
from tests.browser.recorded_page import RecordedPage
from tests.reports.synthetic_day import Moves, SyntheticDay

VERDICTS = (KEEP, DROP, QUARANTINE)
OpenPage = Callable[..., Any]
BROKEN_PICTURES = """images => images.map(image => image.decode().then(
    () => image.naturalWidth > 0 && image.alt.trim() ? null : image.alt || "no alt",
    error => `${image.alt}: ${error}`))"""


@dataclass(frozen=True)
class Row:
    """A row of the table of counts."""

    now: int
    then: int
    come: int
    go: int


def expected_rows(moves: Moves) -> dict[str, Row]:
    """The table of counts, for as many samples that go from a verdict to another one."""
    rows = {}
    for verdict in VERDICTS:
        now = sum(count for (before, _), count in moves.items() if before == verdict)
        then = sum(count for (_, after), count in moves.items() if after == verdict)
        stay = moves[verdict, verdict]
        rows[verdict] = Row(now, then, come=then - stay, go=now - stay)
    return rows


def changed(moves: Moves) -> int:
    """How many samples change side."""
    return sum(count for (before, after), count in moves.items() if before != after)


class ReportPage:
    """The report's page.

    Attributes:
        page: The browser's page.
        record: Keeps a screenshot.
    """

    def __init__(self, recorded: RecordedPage, rule: FilterRule) -> None:
        self.page: Page = recorded.page
        self.record = recorded.record
        self._grid = threshold_grid(rule).tolist()

    def choose(
        self,
        *,
        low: float | None = None,
        high: float | None = None,
        metric: str | None = None,
        any_or_all: str | None = None,
    ) -> None:
        """Chooses what is given, by the form's fields."""
        if metric is not None:
            self.page.get_by_label("Metric").select_option(metric)
        if any_or_all is not None:
            self.page.get_by_label(any_or_all, exact=True).check()
        # The one first that makes room for the other.
        bounds = [("high", high), ("low", low)]
        if high is not None and high < self.threshold("low"):
            bounds.reverse()
        for name, bound in bounds:
            if bound is not None:
                self.slider(name).fill(str(self._grid.index(bound)))

    def slider(self, name: str) -> Locator:
        return self.page.locator(f"input#{name}")

    def threshold(self, name: str) -> float:
        return float(self.page.locator(f"#{name}-value").inner_text())

    def line(self, name: str) -> tuple[float, float]:
        """The middle of a threshold's line in the chart, in the window's pixels."""
        lines = self.page.locator("#histogram svg .mark-rule.role-mark line")
        return _middle(lines.nth(["low", "high"].index(name)))

    def tick(self, text: str) -> float:
        """Where the chart's horizontal axis has a number."""
        labels = self.page.locator("#histogram svg .role-axis-label text")
        return _middle(labels.filter(has_text=re.compile(rf"^{re.escape(text)}$")).first)[0]

    def drag(self, name: str, text: str) -> None:
        """Drags a threshold's line to where the axis has a number."""
        self.page.locator("#histogram").scroll_into_view_if_needed()
        x, y = self.line(name)
        end = self.tick(text)
        mouse = self.page.mouse
        mouse.move(x, y)
        mouse.down()
        mouse.move((x + end) / 2, y)
        mouse.move(end, y)
        mouse.up()

    def rows(self) -> dict[str, Row]:
        """The table of counts."""
        return {
            verdict: Row(
                **{
                    name: self._number(f"#counts tr[data-verdict={verdict}] .{name}")
                    for name in ("now", "then", "come", "go")
                }
            )
            for verdict in VERDICTS
        }

    def changed(self) -> int:
        """How many samples change side."""
        said = self.page.locator("#changed").inner_text()
        number = re.match(r"(No|[\d,]+) samples? changes? side\.$", said)
        assert number is not None, said
        return 0 if number[1] == "No" else int(number[1].replace(",", ""))

    def rule(self) -> FilterRule:
        """What is chosen."""
        fields = self.page.evaluate(
            "[document.getElementById('metric').value,"
            " document.querySelector('[name=any_or_all]:checked').value]"
        )
        return FilterRule(self.threshold("low"), self.threshold("high"), *fields)

    def samples_listed(self) -> list[str]:
        """The samples in the list."""
        names: list[str] = self.page.locator("#rows tbody .name").all_inner_texts()
        return names

    def broken_pictures(self) -> list[str]:
        """What is wrong with pictures that do not decode or have no text in their place."""
        pictures = self.page.locator("img")
        pictures.evaluate_all("images => images.forEach(image => image.loading = 'eager')")
        found = pictures.evaluate_all(f"images => Promise.all(({BROKEN_PICTURES})(images))")
        return [wrong for wrong in found if wrong is not None]

    def violations(self) -> list[str]:
        """What axe finds of WCAG 2, levels A and AA."""
        results = Axe().run(
            self.page, options={"runOnly": ["wcag2a", "wcag2aa"], "resultTypes": ["violations"]}
        )
        return [
            f"{one['id']}: {node['html'][:200]}"
            for one in results.response["violations"]
            for node in one["nodes"]
        ]

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        wide: int = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        return wide

    def _number(self, selector: str) -> int:
        return int(self.page.locator(selector).inner_text().replace(",", ""))


def _middle(element: Locator) -> tuple[float, float]:
    box = element.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@contextmanager
def open_report(
    open_page: OpenPage, path: Path, name: str, rule: FilterRule, **options: Any
) -> Iterator[ReportPage]:
    """Opens a report from disk; it may load nothing and have no errors.

    Args:
        open_page: The fixture.
        path: The report.
        name: Of its screenshots.
        rule: What its day was judged by.
        options: As for `chromium.new_page`.
    """
    with open_page(name, **options) as recorded:
        requested: list[str] = []
        wrong: list[str] = []

        def note(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                wrong.append(message.text)

        recorded.page.on("request", lambda request: requested.append(request.url))
        recorded.page.on("console", note)
        recorded.page.on("pageerror", lambda error: wrong.append(str(error)))
        recorded.page.goto(path.as_uri())
        if options.get("javascript", True):
            expect(recorded.page.locator("body")).to_have_attribute("data-ready", "yes")
        yield ReportPage(recorded, rule)
        assert wrong == []
        loaded = [url for url in requested if not url.startswith("data:")]
        assert loaded == [path.as_uri()]


def assert_counted(report: ReportPage, day: SyntheticDay) -> None:
    """What the page says is what the dataset says."""
    moves = day.moves(report.rule())
    assert report.rows() == expected_rows(moves)
    assert report.changed() == changed(moves)
