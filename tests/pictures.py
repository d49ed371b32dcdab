"""Makes README's pictures from a real run, in `.github/pictures/`.

python -m tests.pictures
python -m tests.pictures asset_graph
"""

import argparse
import datetime as dt
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, FloatRect, Locator

from ocr_assets.demo import make_demo_clips
from tests.browser.chromium import find_chromium, new_page, running_chromium
from tests.browser.dagster_ui import ASSETS, DagsterUI
from tests.browser.recorded_page import RecordedPage
from tests.deployment import PROJECT, Deployment, DevDeployment

PICTURES = PROJECT / ".github" / "pictures"
MOST_BYTES = 300_000
SCALE = 2
GRAPH_MARGIN = 24
REPORT_WIDTH, REPORT_HEIGHT = 1200, 1500
TODAY = dt.datetime.now(dt.UTC).date()
DAYS = [str(TODAY - dt.timedelta(days=1)), str(TODAY)]


def asset_graph(browser: Browser, deployment: Deployment, data: Path) -> bytes:
    """The nodes of the lineage page, once they show how many partitions are filled."""
    page = new_page(browser, scale=SCALE, width=2400, height=800)
    ui = DagsterUI(RecordedPage(page, "picture of the asset graph"), deployment.url)
    ui.open_lineage()
    nodes = page.locator("foreignObject")
    for asset in ASSETS:
        nodes.filter(has_text=asset).get_by_text("100% filled").first.wait_for()
    page.mouse.move(0, 0)  # off what it would highlight
    return page.screenshot(clip=_around([node for node in nodes.all() if node.is_visible()]))


def report(browser: Browser, deployment: Deployment, data: Path) -> bytes:
    """The top of a day's report, opened from the disk."""
    path = data / "reports" / DAYS[0] / "coverage.html"
    page = new_page(browser, scale=SCALE, width=REPORT_WIDTH)
    page.goto(path.as_uri(), wait_until="networkidle")
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": REPORT_WIDTH, "height": min(height, REPORT_HEIGHT)})
    return page.screenshot()


MAKERS: dict[str, Callable[[Browser, Deployment, Path], bytes]] = {
    "asset_graph": asset_graph,
    "report": report,
}


def main() -> None:
    """Runs two days of demo clips by clicking, and keeps what is to be seen then."""
    parser = argparse.ArgumentParser(prog="python -m tests.pictures", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MAKERS))
    names = parser.parse_args().names or list(MAKERS)
    if unknown := set(names) - set(MAKERS):
        parser.error(f"there is no picture {sorted(unknown)}; there are {', '.join(MAKERS)}")
    chromium = find_chromium()
    if chromium is None:
        parser.error("no Chromium: install the package `chromium` of Debian")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for day in DAYS:
            make_demo_clips(root / "videos" / day)
        environment = {
            "OCR_ASSETS_SOURCE": str(root / "videos"),
            "OCR_ASSETS_DATA": str(root / "data"),
            "OCR_ASSETS_STATE": str(root / "state"),
            "OCR_ASSETS_FIRST_DATE": DAYS[0],
            "OCR_ASSETS_FILTERED_DATASET_MAX_AREA_RATIO": "0.1",
        }
        with (
            DevDeployment(root / "home", environment) as deployment,
            running_chromium(chromium) as browser,
        ):
            for day in DAYS:
                _run(browser, deployment, day)
            for name in names:
                _keep(name, MAKERS[name](browser, deployment, root / "data"))


def _run(browser: Browser, deployment: Deployment, day: str) -> None:
    ui = DagsterUI(RecordedPage(new_page(browser), f"run of {day}"), deployment.url)
    ui.open_lineage()
    ui.materialize_partition(day)
    status = ui.wait_for_run()
    if status != "Success":
        raise RuntimeError(f"the run of {day} ended with {status}, see {deployment.home}")


def _around(nodes: list[Locator]) -> FloatRect:
    """The rectangle around elements, with a margin."""
    boxes = [box for node in nodes if (box := node.bounding_box()) is not None]
    left = min(box["x"] for box in boxes) - GRAPH_MARGIN
    top = min(box["y"] for box in boxes) - GRAPH_MARGIN
    right = max(box["x"] + box["width"] for box in boxes) + GRAPH_MARGIN
    bottom = max(box["y"] + box["height"] for box in boxes) + GRAPH_MARGIN
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}


def _keep(name: str, png: bytes) -> None:
    """Writes a picture with 256 colours, which a page of text and charts hardly needs."""
    picture = Image.open(io.BytesIO(png)).convert("RGB").quantize(256)
    smaller = io.BytesIO()
    picture.save(smaller, "PNG", optimize=True)
    size = len(smaller.getvalue())
    if size > MOST_BYTES:
        raise RuntimeError(f"{name} has {size} bytes, more than {MOST_BYTES}")
    PICTURES.mkdir(parents=True, exist_ok=True)
    path = PICTURES / f"{name}.png"
    path.write_bytes(smaller.getvalue())
    print(f"{path}: {picture.width} x {picture.height}, {size} bytes")


if __name__ == "__main__":
    main()
