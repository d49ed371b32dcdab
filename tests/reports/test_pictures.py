import datetime as dt
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from PIL import Image

from ocr_assets.coverage import FilterRule, ocr_area_ratio, union_area_ratio
from ocr_assets.ocr.boxes import TextBox, quad_box, rect_box
from ocr_assets.reports.charts import (
    heat_map_chart,
    histogram_chart,
    markdown_picture,
    overview_chart,
    png,
    vega,
)
from ocr_assets.reports.costs import detection_cost, stage_costs
from ocr_assets.reports.heat_map import COLUMNS, ROWS, heat_map
from ocr_assets.reports.pictures import frame_pictures, small_picture
from ocr_assets.resources.tables import Tables
from ocr_assets.tables.box_columns import boxes_column
from ocr_assets.tables.schemas import OcrBoxes, SampledFrames
from ocr_assets.video.images import encode_image

DATE = dt.date(2026, 1, 31)
WIDTH, HEIGHT = 480, 270


def write_boxes(tables: Tables, *frames: tuple[str, int, Sequence[TextBox] | None]) -> None:
    """Rows of `ocr_boxes`; None is a video without frames."""
    rows = [
        dict.fromkeys(OcrBoxes.create_empty().drop("date").columns)
        | {"video_id": video_id, "status": "damaged", "error": "it is damaged"}
        if boxes is None
        else {
            "video_id": video_id,
            "frame_index": index,
            "width": WIDTH,
            "height": HEIGHT,
            "ocr_area_ratio": ocr_area_ratio(boxes, WIDTH, HEIGHT),
            "union_area_ratio": union_area_ratio(boxes, WIDTH, HEIGHT),
            "device": "cpu",
            "milliseconds": 1.0,
            "status": "ok",
        }
        for video_id, index, boxes in frames
    ]
    schema = OcrBoxes.create_empty().drop("date").schema
    table = pl.DataFrame(rows, schema=schema).with_columns(
        boxes_column([boxes for _, _, boxes in frames])
    )
    with tables.ocr_boxes.replace(DATE) as writer:
        writer.append(table)


def write_frames(tables: Tables, *frames: tuple[str, int, NDArray[np.uint8]]) -> None:
    schema = SampledFrames.create_empty().drop("date").schema
    rows = []
    for video_id, index, rgb in frames:
        image = encode_image(rgb)
        rows.append(
            {
                "video_id": video_id,
                "frame_index": index,
                "pts": index,
                "timestamp_seconds": float(index),
                "width": rgb.shape[1],
                "height": rgb.shape[0],
                "image": image.data,
                "image_format": image.format,
                "status": "ok",
            }
        )
    with tables.sampled_frames.replace(DATE) as writer:
        writer.append(pl.DataFrame(rows, schema=schema))


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(root=str(tmp_path))


def test_the_heat_map_is_the_share_of_frames_with_text_in_each_place(tables: Tables) -> None:
    left_half = rect_box(0, WIDTH / 2, 0, HEIGHT)
    top = rect_box(-50, WIDTH + 50, -9, HEIGHT / ROWS)
    write_boxes(
        tables, ("a", 0, [left_half, left_half]), ("a", 1, [top]), ("b", 0, []), ("c", 0, None)
    )
    shares = heat_map(tables.ocr_boxes, DATE)
    assert shares.shape == (ROWS, COLUMNS)
    assert shares[0, : COLUMNS // 2] == pytest.approx(2 / 3)
    assert shares[0, COLUMNS // 2 :] == pytest.approx(1 / 3)
    assert shares[1:, : COLUMNS // 2] == pytest.approx(1 / 3)
    assert shares[1:, COLUMNS // 2 :] == pytest.approx(0)


def test_the_heat_map_of_no_frames_is_empty(tables: Tables) -> None:
    write_boxes(tables, ("a", 0, None))
    assert heat_map(tables.ocr_boxes, DATE).max() == 0


def test_the_most_covered_frame_of_each_wanted_video_is_pictured(tables: Tables) -> None:
    small, large = rect_box(0, 40, 0, 20), quad_box([(10, 10), (300, 12), (298, 90), (9, 88)])
    write_boxes(tables, ("a", 0, [small]), ("a", 1, [large]), ("b", 0, [small]), ("c", 0, None))
    grey = {("a", 0): 40, ("a", 1): 120, ("b", 0): 200}
    write_frames(
        tables,
        *((*key, np.full((HEIGHT, WIDTH, 3), value, np.uint8)) for key, value in grey.items()),
    )
    said: list[str] = []
    (picture,) = frame_pictures(
        tables.sampled_frames, tables.ocr_boxes, DATE, ["a", "c", "x"], said.append
    )
    assert said == []
    assert (picture.video_id, picture.frame_index, picture.frames) == ("a", 1, 2)
    assert (picture.boxes, picture.union_area_ratio) == (
        1,
        pytest.approx(union_area_ratio([large], WIDTH, HEIGHT)),
    )
    image = np.asarray(Image.open(io.BytesIO(picture.jpeg)))
    assert image.shape[:2] == (picture.height, picture.width) == (144, 256)
    assert abs(int(image[-10:, -10:].mean()) - 120) < 3


def test_a_frame_that_cannot_be_decoded_is_left_out_with_a_word(tables: Tables) -> None:
    write_boxes(tables, ("a", 0, []), ("b", 0, []))
    grey = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    write_frames(tables, ("a", 0, grey), ("b", 0, grey))
    frames = tables.sampled_frames.scan(DATE).drop("date").collect()
    damaged = pl.when(pl.col("video_id") == "a").then(pl.lit(b"RIFF")).otherwise("image")
    with tables.sampled_frames.replace(DATE) as writer:
        writer.append(frames.with_columns(image=damaged))
    said: list[str] = []
    pictures = frame_pictures(
        tables.sampled_frames, tables.ocr_boxes, DATE, ["a", "b"], said.append
    )
    assert [picture.video_id for picture in pictures] == ["b"]
    assert len(said) == 1
    assert said[0].startswith("frame 0 of video a: ")


def test_boxes_that_leave_the_frame_are_drawn_as_far_as_it_goes() -> None:
    small = small_picture(np.zeros((2000, 10, 3), np.uint8), [rect_box(-9, 99, 5, 50)], 256, 192)
    assert small.shape == (192, 1, 3)


def is_picture(data: bytes) -> bool:
    image = Image.open(io.BytesIO(data))
    colours = image.convert("RGB").getcolors(1 << 16)
    return image.format == "PNG" and colours is not None and len(colours) > 5


def test_charts_are_pictures_of_some_tens_of_kilobytes_at_most() -> None:
    counts = [1000, 0, 30, 4] + [7] * 36
    shares = np.random.default_rng(0).random((ROWS, COLUMNS))
    picture = png(overview_chart(counts, FilterRule(0.01, 0.1), shares))
    assert is_picture(picture)
    assert len(picture) < 50_000
    markdown = markdown_picture(histogram_chart(counts, FilterRule(), 400), "Ratios of 7 videos")
    assert markdown.startswith("![Ratios of 7 videos](data:image/png;base64,")
    assert is_picture(png(heat_map_chart(np.zeros((ROWS, COLUMNS)), 384)))


def test_whoever_shows_the_histogram_can_move_its_thresholds_and_change_its_bars() -> None:
    chart = vega(histogram_chart([3, 2, 1], FilterRule(0.1, 0.4)))
    signals = {signal["name"]: signal.get("value") for signal in chart["signals"]}
    assert (signals["low"], signals["high"]) == (0.1, 0.4)
    bars = next(data for data in chart["data"] if data["name"] == "bins")
    assert [bar["videos"] for bar in bars["values"]] == [3, 2, 1]


def test_costs_are_what_the_steps_reported_and_unknown_where_they_did_not() -> None:
    reported = {"ocr_boxes": {"seconds": 50.0}, "sampled_frames": {"rows": 3}}
    costs = {cost.stage: cost for cost in stage_costs(reported, videos=200)}
    assert (costs["ocr_boxes"].seconds, costs["ocr_boxes"].seconds_per_1000_videos) == (50, 250)
    assert costs["sampled_frames"].seconds is None
    assert costs["video_manifest"].seconds_per_1000_videos is None
    (*_, nothing) = stage_costs({"filtered_dataset": {"seconds": 1.0}}, videos=0)
    assert (nothing.seconds, nothing.seconds_per_1000_videos) == (1, None)
    assert detection_cost(reported) is None


def test_the_detectors_cost_has_gaps_where_nothing_was_measured() -> None:
    counted = ("frames", "frames_reused", "fallbacks", "waits", "wait_seconds", "out_of_memory")
    idle = detection_cost({"ocr_boxes": dict.fromkeys(counted, 0)})
    assert idle is not None
    assert (idle.frames_per_second, idle.gpu_peak_bytes, idle.device_share) == (None, None, {})
    metadata = {**dict.fromkeys(counted, 3), "device_share/cpu": 0.25, "device_share/cuda:0": 0.75}
    busy = detection_cost({"ocr_boxes": metadata | {"frames_per_second": 2.5}})
    assert busy is not None
    assert busy.device_share == {"cpu": 0.25, "cuda:0": 0.75}
    assert busy.frames_per_second == 2.5
