"""Dagster's web UI, used as a person does: by what is written on it.

ui = DagsterUI(recorded_page, deployment.url)
ui.open_lineage()
ui.materialize_partition("2026-01-01")
assert ui.wait_for_run() == "Success"
"""

import re

from playwright.sync_api import Locator, expect

from ocr_assets.definitions import defs
from tests.browser.recorded_page import RecordedPage

ASSETS = sorted(key.to_user_string() for key in defs.resolve_all_asset_keys())
RUN_SECONDS = 480
PARTITION_STATUS = re.compile("^(Failed|Materialized|Materializing|Missing)$")
CLOCK = re.compile(r"\d:\d\d [AP]M$")
ENDED = re.compile("^(Success|Failure|Canceled)$")


class DagsterUI:
    """One page of it, and a screenshot after every step."""

    def __init__(self, recorded_page: RecordedPage, url: str) -> None:
        """Opens nothing yet.

        Args:
            recorded_page: An empty page.
            url: The webserver's.
        """
        self.page = recorded_page.page
        self.record = recorded_page.record
        self._url = url

    def open_lineage(self) -> None:
        """The graph, with every asset on it."""
        self._choose("Lineage")
        for asset in ASSETS:
            expect(self._node(asset)).to_be_visible()
        self.record("lineage")

    def materialize_partition(self, day: str) -> None:
        """Launches a run of all assets for a day, from the graph, and opens the run's page."""
        self.page.get_by_role("button", name="Materialize all").click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("textbox").fill(day)
        self.page.keyboard.press("Tab")
        expect(dialog.get_by_text("1 partition", exact=True)).to_be_visible()
        self.record("partition chosen")
        dialog.get_by_role("button", name="Launch 1 run").click()
        # This is shown for some seconds only: too short to be clicked on with certainty.
        run_id = self.page.get_by_text("Launched run").first.inner_text().split()[-1]
        self._choose("Runs")
        self.page.get_by_role("link", name=run_id).first.click()
        expect(self.page.get_by_text(f"partition: {day}").first).to_be_visible()
        self.record("run launched")

    def wait_for_run(self) -> str:
        """How the run on this page has ended: `Success`, `Failure` or `Canceled`."""
        status = self.page.get_by_text(ENDED).first
        status.wait_for(timeout=RUN_SECONDS * 1000)
        self.record("run ended")
        return status.inner_text()

    def open_asset(self, asset: str, tab: str = "Overview") -> None:
        """A tab of an asset's page, by way of the catalog."""
        self._choose("Catalog")
        self.page.get_by_role("link", name=asset, exact=False).first.click()
        self.page.get_by_role("tab", name=tab, exact=True).click()

    def partition_status(self, asset: str, day: str) -> str:
        """What an asset's page says about a day: `Materialized`, for example."""
        self.open_asset(asset, "Partitions")
        self.page.get_by_text(day, exact=True).locator("visible=true").first.click()
        status = self.page.get_by_text(PARTITION_STATUS).first
        status.wait_for()
        expect(self.page.get_by_text("No metadata entries")).to_be_hidden()
        self.record(f"{asset} {day}")
        return status.inner_text()

    def metadata(self, key: str) -> Locator:
        """An entry's value on an asset's page; a long one is in a dialog, which is opened."""
        cell = self.page.get_by_role("cell", name=key, exact=True)
        # A value may be a table and have cells, too.
        value = self.page.get_by_role("row").filter(has=cell).locator("> td").last
        cell.scroll_into_view_if_needed()
        more = value.get_by_text("[Show Markdown]")
        if more.count() > 0:
            more.click()
            value = self.page.get_by_role("dialog")
            expect(value.get_by_text("Close")).to_be_visible()
        self.record(key)
        return value

    def previews(self) -> list[tuple[str, int]]:
        """Every picture in an asset's metadata: its alternative text, and its width in pixels.

        The width is 0 if the browser cannot decode it.
        """
        # Entries of a materialization have its time.
        entry = self.page.get_by_role("cell", name=CLOCK).first
        entry.scroll_into_view_if_needed()
        self.record("metadata")
        found = self._pictures()
        long_ones = self.page.get_by_text("[Show Markdown]")
        for index in range(long_ones.count()):
            long_ones.nth(index).click()
            dialog = self.page.get_by_role("dialog")
            close = dialog.get_by_role("button", name="Close")
            expect(close).to_be_visible()
            found += self._pictures()
            self.record("long metadata")
            close.click()
            expect(dialog).to_be_hidden()
        return found

    def check(self, check: str) -> Locator:
        """What an asset's tab `Checks` shows about a check."""
        # A long name is shortened in the list, and whole in its title and above the details.
        self.page.get_by_title(check, exact=True).first.click()
        shown = self.page.locator("body")
        expect(shown.get_by_text(check, exact=True).last).to_be_visible()
        expect(shown.get_by_text("Evaluation result")).to_be_visible()
        self.record(check)
        return shown

    def open_launchpad(self, job: str) -> Locator:
        """The launchpad of a job of assets, a dialog."""
        self._choose("Jobs")
        self.page.get_by_role("link", name=job, exact=False).first.click()
        materialize = self.page.get_by_role("button", name="Materialize all")
        materialize.locator("xpath=following::button[1]").click()
        self.page.get_by_role("menuitem", name="Open launchpad").click()
        launchpad = self.page.get_by_role("dialog")
        expect(launchpad.get_by_text("No errors")).to_be_visible()
        self.record("launchpad")
        return launchpad

    def write_config(self, yaml: str) -> None:
        """Puts other text in place of the launchpad's config."""
        self.page.get_by_role("dialog").locator(".CodeMirror").click()
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.insert_text(yaml)

    def launch(self, day: str) -> None:
        """Launches a day with the launchpad's config, and opens the run's page."""
        launchpad = self.page.get_by_role("dialog")
        launchpad.get_by_placeholder("Partition").fill(day)
        self.page.keyboard.press("Enter")
        expect(launchpad.get_by_text(f"partition: {day}")).to_be_visible()
        self.record("config and partition chosen")
        launchpad.get_by_role("button", name="Materialize").click()
        expect(self.page).to_have_url(re.compile("/runs/"))

    def _choose(self, entry: str) -> None:
        """Clicks on an entry of the navigation at the left, where the UI begins."""
        if not self.page.url.startswith(self._url):
            self.page.goto(self._url)
        # Their icons have names, which come first.
        self.page.get_by_role("link", name=re.compile(rf"(^|\s){entry}$")).first.click()

    def _node(self, asset: str) -> Locator:
        return self.page.locator("foreignObject").get_by_text(asset, exact=True)

    def _pictures(self) -> list[tuple[str, int]]:
        pictures = self.page.locator('img[src^="data:image"]')
        pictures.evaluate_all("all => Promise.all(all.map(one => one.decode().catch(() => null)))")
        found = pictures.evaluate_all("all => all.map(one => [one.alt, one.naturalWidth])")
        return [(text, width) for text, width in found]
