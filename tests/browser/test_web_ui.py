"""The project in Dagster's web UI, as someone sees it who begins with `dagster dev`."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from playwright.sync_api import expect

from ocr_assets.assets.filtered_dataset import FilteredDatasetConfig
from ocr_assets.checks import all_checks
from ocr_assets.coverage import FilterRule
from ocr_assets.demo import make_demo_clips
from ocr_assets.settings import coverage_report
from tests.browser.conftest import OpenPage
from tests.browser.dagster_ui import ASSETS, DagsterUI
from tests.browser.recorded_page import RecordedPage
from tests.browser.report_page import open_report
from tests.deployment import Deployment, DevDeployment

pytestmark = pytest.mark.slow

# Two of them, so that what fails on purpose leaves the day that is looked at as it is.
TODAY = dt.datetime.now(dt.UTC).date()
YESTERDAY, DAY_BEFORE = (str(TODAY - dt.timedelta(days=days)) for days in (1, 2))
# Assets whose page has pictures in its metadata.
PREVIEWS = ["sampled_frames", "ocr_boxes", "filtered_dataset", "coverage_report"]
CHECKS = [key for definition in all_checks for key in definition.check_keys]
EVALUATION = """
query($asset: [String!]!) {
  assetNodeOrError(assetKey: {path: $asset}) { ... on AssetNode {
    assetChecksOrError { ... on AssetChecks { checks {
      name
      executionForLatestMaterialization { evaluation { description } }
    } } }
  } }
}
"""
HOSTILE_NAMES = [
    "<img src=x onerror=alert(1)>.mp4",
    "<svg onload=alert(1)>.mp4",
    "[x](javascript:alert(1))|a.mp4",
    "![x](x)`y`.mp4",
    "<a href=javascript:alert(1)>x.mp4",
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("web_ui")


@pytest.fixture(scope="module")
def deployment(root: Path) -> Iterator[Deployment]:
    *_, broken = make_demo_clips(root / "videos" / YESTERDAY)
    for name in HOSTILE_NAMES:
        broken.with_name(name).write_bytes(broken.read_bytes())
    environment = {
        "OCR_ASSETS_SOURCE": str(root / "videos"),
        "OCR_ASSETS_DATA": str(root / "data"),
        "OCR_ASSETS_STATE": str(root / "state"),
    }
    with DevDeployment(root / "home", environment) as running:
        yield running


@pytest.fixture(scope="module")
def status(deployment: Deployment, open_page: OpenPage) -> str:
    """How the run of a day ended that was materialised by clicking."""
    with open_page("materialised by clicking") as recorded_page:
        ui = DagsterUI(recorded_page, deployment.url)
        ui.open_lineage()
        ui.materialize_partition(YESTERDAY)
        return ui.wait_for_run()


@pytest.fixture
def ui(recorded_page: RecordedPage, deployment: Deployment) -> DagsterUI:
    return DagsterUI(recorded_page, deployment.url)


@pytest.fixture
def ui_after_the_run(ui: DagsterUI, status: str) -> DagsterUI:
    assert status == "Success"
    return ui


def test_the_lineage_shows_every_asset(ui: DagsterUI) -> None:
    ui.open_lineage()


def test_a_day_is_materialised_by_clicking(ui_after_the_run: DagsterUI) -> None:
    for asset in ASSETS:
        assert ui_after_the_run.partition_status(asset, YESTERDAY) == "Materialized"


def test_the_dataset_has_as_many_rows_as_its_page_says(
    ui_after_the_run: DagsterUI, root: Path
) -> None:
    dataset = pl.scan_delta(str(root / "data" / "filtered_dataset"))
    day = dataset.filter(pl.col("date") == dt.date.fromisoformat(YESTERDAY))
    row_count = day.select(pl.len()).collect().item()
    assert row_count == 7 + len(HOSTILE_NAMES)
    ui_after_the_run.open_asset("filtered_dataset")
    shown = ui_after_the_run.metadata("dagster/partition_row_count")
    expect(shown).to_have_text(str(row_count))


@pytest.mark.parametrize("key", CHECKS, ids=lambda key: key.name)
def test_every_check_has_passed_and_says_what_it_found(
    ui_after_the_run: DagsterUI, deployment: Deployment, key: dg.AssetCheckKey
) -> None:
    asset = key.asset_key.to_user_string()
    node = deployment.graphql(EVALUATION, asset=[asset])["assetNodeOrError"]
    checks = node["assetChecksOrError"]["checks"]
    (check,) = [check for check in checks if check["name"] == key.name]
    sentence = check["executionForLatestMaterialization"]["evaluation"]["description"]
    assert len(sentence) > 0
    ui_after_the_run.open_asset(asset, "Checks")
    shown = ui_after_the_run.check(key.name)
    expect(shown.get_by_text("Passed", exact=True)).to_be_visible()
    expect(shown.get_by_text(sentence, exact=True)).to_be_visible()


@pytest.mark.parametrize("asset", PREVIEWS)
def test_an_assets_page_shows_pictures(ui_after_the_run: DagsterUI, asset: str) -> None:
    ui_after_the_run.open_asset(asset)
    pictures = ui_after_the_run.previews()
    assert len(pictures) > 0, f"{asset} shows no picture"
    assert [text for text, width in pictures if width == 0] == []


def test_dragging_the_threshold_of_the_days_report_counts_what_its_table_says(
    status: str, root: Path, open_page: OpenPage
) -> None:
    assert status == "Success"
    samples = pl.scan_delta(str(root / "data" / "filtered_dataset")).filter(
        pl.col("date") == dt.date.fromisoformat(YESTERDAY)
    )
    path = root / "data" / coverage_report(dt.date.fromisoformat(YESTERDAY))
    with open_report(open_page, path, "report of the day", FilterRule()) as report:
        for text in ("0.4", "0.05"):
            report.drag("high", text)
            title = f"Just above {report.threshold('high'):g}, the greatest ratio that is kept"
            expect(report.page.locator("#above-title")).to_have_text(title)
            report.record(f"dragged to {text}", whole=True)
            ratio = pl.col("ocr_area_ratio").list.first()
            within = ratio <= report.threshold("high")
            expected = samples.select(
                keep=within.sum(), drop=(~within).sum(), quarantine=ratio.is_null().sum()
            ).collect()
            then = {verdict: row.then for verdict, row in report.rows().items()}
            assert then == expected.row(0, named=True)
            assert report.changed() == then["drop"] > 0
        assert report.broken_pictures() == []


def test_names_of_files_are_text_on_the_page_and_nothing_more(ui_after_the_run: DagsterUI) -> None:
    ui_after_the_run.open_asset("filtered_dataset")
    table = ui_after_the_run.metadata("quarantined_samples")
    for name in HOSTILE_NAMES:
        cell = table.get_by_role("cell", name=f"{YESTERDAY}/{name}", exact=True)
        expect(cell).to_be_visible()
    page = ui_after_the_run.page
    expect(page.locator('img[src="x"], a[href^="javascript" i], svg[onload]')).to_have_count(0)
    expect(table.locator("a, img, code")).to_have_count(0)


def test_the_launchpad_describes_every_setting(ui: DagsterUI) -> None:
    launchpad = ui.open_launchpad("daily_job")
    launchpad.get_by_text("max_area_ratio").first.click()  # its siblings are described beside it
    for field in FilteredDatasetConfig.model_fields.values():
        assert field.description is not None
        expect(launchpad.get_by_text(field.description).last).to_be_visible()
    ui.record("settings described")


def test_the_launchpad_refuses_a_value_of_another_type(ui: DagsterUI) -> None:
    launchpad = ui.open_launchpad("daily_job")
    ui.write_config(max_area_ratio("lots"))
    sentence = 'Value "lots" of type "<class \'str\'>" is not valid for expected type "Float"'
    expect(launchpad.get_by_text(sentence)).to_be_visible()
    expect(launchpad.get_by_role("button", name="Materialize")).to_be_disabled()
    ui.record("refused")


def test_a_value_out_of_bounds_fails_the_run_with_a_sentence(ui: DagsterUI) -> None:
    ui.open_launchpad("daily_job")
    ui.write_config(max_area_ratio("1000"))
    ui.launch(DAY_BEFORE)
    assert ui.wait_for_run() == "Failure"
    sentence = "max_area_ratio: Input should be less than or equal to 100"
    expect(ui.page.get_by_text(sentence).first).to_be_visible()


def max_area_ratio(value: str) -> str:
    return f"ops:\n  filtered_dataset:\n    config:\n      max_area_ratio: {value}\n"
