"""A day whose tables are written directly, without videos and without a detector."""

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from ocr_assets.coverage import ocr_area_ratio, union_area_ratio
from ocr_assets.ocr.boxes import TextBox
from ocr_assets.reasons import Fault
from ocr_assets.resources.tables import tables_at
from ocr_assets.tables.partition_writer import PartSize
from ocr_assets.tables.partitioned import PartitionedTable

WIDTH, HEIGHT = 200, 100

Video = Sequence[Sequence[TextBox]] | Fault
"""The boxes of each of its frames, or why it cannot be read."""


def covering(share: float) -> TextBox:
    """Text over so much of the frame, from its left edge on."""
    right = share * WIDTH
    corners = ((0.0, 0.0), (right, 0.0), (right, float(HEIGHT)), (0.0, float(HEIGHT)))
    return TextBox("rect", corners, right * HEIGHT)


def write_day(
    data: str | Path,
    date: dt.date,
    samples: Mapping[str, Sequence[Video]],
    *,
    rows_a_part: int = 50_000,
) -> None:
    """Writes video_manifest and ocr_boxes of a day.

    Args:
        data: The folder for the tables, or a URL.
        date: The day.
        samples: The videos of each sample, by its sample_id.
        rows_a_part: When a part of the manifest is full.
    """
    manifest: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for sample_index, (sample_id, videos) in enumerate(samples.items()):
        of_sample = {"sample_id": sample_id, "sample_index": sample_index, "sample_json": "{}"}
        if not videos:
            manifest.append(of_sample | {"status": "ok"})
        for video_index, video in enumerate(videos):
            video_id = f"{sample_index}-{video_index}"
            row = of_sample | {"video_index": video_index, "path": f"/{sample_id}/{video_index}"}
            if isinstance(video, Fault):
                row |= {"status": video.status.value, "error": video.message}
            else:
                row |= {"status": "ok", "video_id": video_id}
                boxes += [_frame(video_id, index, found) for index, found in enumerate(video)]
            manifest.append(row)
    tables = tables_at(data)
    _write(tables.video_manifest, date, manifest, rows_a_part)
    _write(tables.ocr_boxes, date, boxes, 50_000)


def _frame(video_id: str, index: int, boxes: Sequence[TextBox]) -> dict[str, Any]:
    found = [
        {
            "kind": box.kind,
            "points": [list(point) for point in box.points],
            "area_pixels": box.area_pixels,
            "text": None,
            "confidence": None,
        }
        for box in boxes
    ]
    return {
        "video_id": video_id,
        "frame_index": index,
        "width": WIDTH,
        "height": HEIGHT,
        "boxes": found,
        "ocr_area_ratio": ocr_area_ratio(boxes, WIDTH, HEIGHT),
        "union_area_ratio": union_area_ratio(boxes, WIDTH, HEIGHT),
        "status": "ok",
    }


def _write(
    table: PartitionedTable, date: dt.date, rows: list[dict[str, Any]], rows_a_part: int
) -> None:
    schema = table.schema.create_empty().drop("date").schema
    with table.replace(date, PartSize(rows=rows_a_part)) as writer:
        for begin in range(0, len(rows), rows_a_part):
            writer.append(pl.DataFrame(rows[begin : begin + rows_a_part], schema=schema))
