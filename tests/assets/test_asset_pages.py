"""What the assets' pages show of a day: numbers to plot, pictures, and tables of names as text."""

import io
import re
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from PIL import Image

from ocr_assets.assets.contents import contents
from ocr_assets.assets.first_frames import FirstFrames
from ocr_assets.assets.nearest_to_bounds import NearestToBounds
from ocr_assets.coverage import FilterRule
from ocr_assets.tables.examples import example_frame
from ocr_assets.tables.schemas import SampledFrames, VideoManifest
from tests.clips import numbered, write_video
from tests.pipeline import DAY, NEXT_DAY, materialize_day

HOSTILE = "<img src=x onerror=alert(1)> | `a` \u202e.mp4"
LONG = "\u202e" * 60 + ".mp4"

Entries = Mapping[str, dg.MetadataValue[Any]]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Entries]:
    root = tmp_path_factory.mktemp("pages")
    folder = root / "videos" / DAY
    folder.mkdir(parents=True)
    for number, name in enumerate([HOSTILE, LONG, "c.mp4", "d.mkv"]):
        write_video(folder / name, numbered(3 + number))
    for number in range(10):
        (folder / f"{number} {HOSTILE}").write_bytes(b"not a video")
    result = materialize_day(root / "videos", root / "data", rule={"metric": "union_area_ratio"})
    return {
        event.asset_key.to_user_string(): event.materialization.metadata
        for event in result.get_asset_materialization_events()
    }


def test_every_page_has_numbers_to_plot(pages: dict[str, Entries]) -> None:
    wanted = {
        "video_manifest": {"samples", "readable", "unreadable", "total_seconds", "total_bytes"},
        "sampled_frames": {"videos", "frames", "videos_failed", "videos_per_second"},
        "ocr_boxes": {"frames_per_second", "fallback_share", "device_share/cpu", "wait_seconds"},
        "filtered_dataset": {"keep", "drop_share", "quarantine_share", "mean_ratio"},
    }
    everywhere = {"seconds", "stored_bytes", "dagster/partition_row_count"}
    for asset, names in wanted.items():
        numbers = {
            name
            for name, entry in pages[asset].items()
            if isinstance(entry, dg.IntMetadataValue | dg.FloatMetadataValue)
        }
        assert names | everywhere <= numbers, asset
    assert pages["filtered_dataset"]["metric"].value == "union_area_ratio"
    assert pages["video_manifest"]["total_seconds"].value > 0


def test_every_page_leads_to_the_days_files(pages: dict[str, Entries]) -> None:
    for asset, page in pages.items():
        folder = Path(page["partition_path"].value)
        assert folder == Path(page["dagster/uri"].value) / f"date={DAY}", asset
        size_bytes = sum(path.stat().st_size for path in folder.glob("*.parquet"))
        assert page["stored_bytes"].value == size_bytes > 0, asset


def test_metadata_is_small_and_holds_no_markup_of_others(pages: dict[str, Entries]) -> None:
    for asset, page in pages.items():
        shown = [str(entry.value) for entry in page.values()]
        assert sum(map(len, shown)) < 100_000, asset
        markdown = [
            entry.value for entry in page.values() if isinstance(entry, dg.MarkdownMetadataValue)
        ]
        assert not any(re.search(r"(?<!\\)<|\u202e", text) for text in markdown), asset
    names = pages["filtered_dataset"]["quarantined_samples"].value
    assert r"\<img src\=x onerror\=alert\(1\)\> &#124; &#96;a&#96; \\u202e\.mp4" in names


def test_the_sheet_of_sampled_frames_has_a_frame_of_each_video(pages: dict[str, Entries]) -> None:
    picture, _, names = pages["sampled_frames"]["first_frames"].value.partition("\n\n")
    jpeg = re.fullmatch(r"!\[first frames\]\(data:image/jpeg;base64,(.+)\)", picture)
    assert jpeg is not None
    assert Image.open(io.BytesIO(b64decode(jpeg[1]))).size == (3 * 256, 2 * 208)
    assert len(names.splitlines()) == 2 + 4
    assert r"c\.mp4" in names


def frame(video_id: str, **others: object) -> pl.DataFrame:
    image = io.BytesIO()
    Image.new("RGB", (64, 48)).save(image, "png")
    columns = {"video_id": video_id, "image": image.getvalue()} | others
    return example_frame(SampledFrames).with_columns(
        **{name: pl.lit(value) for name, value in columns.items()}
    )


def test_the_videos_on_the_sheet_are_spread_over_the_day() -> None:
    videos = [f"{number:032x}" for number in range(60)]
    frames = FirstFrames(pl.Series(videos))
    for video in videos:
        for seconds in (0.25, 0.5):
            frames.consider(frame(video, timestamp_seconds=seconds), f"{video[-2:]}.mp4")
    rows = frames.markdown().splitlines()[4:]
    assert [row.split(" | ")[1] for row in rows] == [
        rf"{number:02x}\.mp4" for number in range(0, 60, 10)
    ]
    assert all(r"0\.25 s" in row for row in rows)


def test_frames_that_cannot_be_shown_leave_the_day_as_it_is() -> None:
    frames = FirstFrames(pl.Series(["a", "b"]))
    frames.consider(frame("a", image=None, timestamp_seconds=None), "a.mp4")
    frames.consider(frame("b", image=b"not an image"), "b.mp4")
    assert frames.markdown() == "No frames."


def test_formats_that_are_rare_share_a_line() -> None:
    one = example_frame(VideoManifest)
    rows = [one.with_columns(width=pl.lit(width, pl.Int32)) for width in [640, 640, *range(1, 9)]]
    told = contents(pl.concat(rows).lazy())
    assert told["total_seconds"] == 30
    lines = told["formats"].value.splitlines()
    assert "| size | 640x360 | 2 | 6 s | 0.1 |" in lines
    assert "| size | 3 others | 3 | 9 s | 0.2 |" in lines
    assert told["statuses"].value.splitlines()[2:] == ["| ok | 10 | it can be read |"]


def test_a_day_without_videos_has_contents() -> None:
    told = contents(example_frame(VideoManifest).clear().lazy())
    assert (told["total_bytes"], told["formats"].value, told["statuses"].value) == (
        0,
        "none",
        "none",
    )


def nearest(rule: FilterRule, ratios: Mapping[str, list[float | None]]) -> list[str]:
    found = NearestToBounds(rule)
    for sample, values in ratios.items():
        verdict, _, name = sample.partition(" ")
        found.consider({"sample_id": name, "verdict": verdict, rule.metric: values})
    return [line.strip("| ").replace(" | ", " ") for line in found.markdown().splitlines()[2:]]


def test_the_samples_nearest_to_the_bounds_are_shown_on_both_sides() -> None:
    kept = {f"keep k{number}": [0.5 - number / 16] for number in range(9)}
    dropped = {f"drop d{number}": [0.625 + number / 16] for number in range(9)}
    assert nearest(FilterRule(max_area_ratio=0.5), {**kept, **dropped}) == [
        *["d4 0.875 drop", "d3 0.8125 drop", "d2 0.75 drop", "d1 0.6875 drop", "d0 0.625 drop"],
        *["k0 0.5 keep", "k1 0.4375 keep", "k2 0.375 keep", "k3 0.3125 keep", "k4 0.25 keep"],
    ]


@pytest.mark.parametrize(("any_or_all", "ratio"), [("any", "0.3"), ("all", "0.5")])
def test_of_several_videos_the_one_that_decides_is_shown(any_or_all: Any, ratio: str) -> None:
    rule = FilterRule(0.2, 0.4, "union_area_ratio", any_or_all)
    verdict = "keep" if any_or_all == "any" else "drop"
    samples = {f"{verdict} s": [0.3, 0.5, None], "quarantine q": [0.3], f"{verdict} n": []}
    assert nearest(rule, samples) == [f"s {ratio} {verdict}"]


def test_nothing_lies_near_a_lower_bound_of_zero() -> None:
    assert nearest(FilterRule(max_area_ratio=0.5), {"keep none": [0.0], "keep most": [0.4]}) == [
        "most 0.4 keep",
        "none 0 keep",
    ]


def test_a_day_that_needs_no_detection_leaves_a_gap_in_the_plots_of_rates(tmp_path: Path) -> None:
    for day in (DAY, NEXT_DAY):
        (tmp_path / "videos" / day).mkdir(parents=True)
        write_video(tmp_path / "videos" / day / "a.mp4", numbered(3))
        result = materialize_day(tmp_path / "videos", tmp_path / "data", day=day)
    (event,) = result.asset_materializations_for_node("ocr_boxes")
    assert event.metadata["frames_reused"].value == 3
    assert not {"frames_per_second", "fallback_share", "device_share/cpu"} & event.metadata.keys()
