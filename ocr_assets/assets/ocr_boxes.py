"""The text on the sampled frames."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
from numpy.typing import NDArray

from ocr_assets import settings
from ocr_assets.assets.metadata import column_schema, written
from ocr_assets.coverage import ocr_area_ratio, union_area_ratio
from ocr_assets.ocr.boxes import TextBox
from ocr_assets.ocr.detector import DetectionError, DetectionThresholds
from ocr_assets.ocr.reader import Tally
from ocr_assets.ocr.session import DetectionSession
from ocr_assets.partitions import daily, partition_date
from ocr_assets.progress import Progress
from ocr_assets.reports.contact_sheet import ContactSheet
from ocr_assets.resources.easyocr import EasyOCRResource
from ocr_assets.resources.tables import Tables
from ocr_assets.tables.schemas import OcrBoxes
from ocr_assets.video.images import decode_image


@dg.asset(
    deps=["sampled_frames"],
    partitions_def=daily,
    group_name=settings.GROUP,
    owners=settings.OWNERS,
    kinds={"pytorch", "deltalake"},
    code_version="1",
    metadata={"dagster/column_schema": column_schema(OcrBoxes)},
)
def ocr_boxes(
    context: dg.AssetExecutionContext, easyocr: EasyOCRResource, tables: Tables
) -> dg.MaterializeResult[None]:
    """EasyOCR's text boxes on every sampled frame, and the share of the frame they cover."""
    date = partition_date(context)
    frames = tables.sampled_frames.scan(date).filter(pl.col("error").is_null())
    total = int(frames.select(pl.len()).collect().item())
    progress = Progress(context.log.info, "frames", total=total)
    sheet = ContactSheet()
    failed = 0
    with (
        easyocr.session(context.log.info) as session,
        tables.ocr_boxes.replace(date) as writer,
    ):
        for part in tables.sampled_frames.scan_parts(date):
            rows = []
            for frames_alike in _batches(part, easyocr.max_batch_frames):
                detected = _detect(frames_alike, session, easyocr.thresholds(), sheet)
                if frames_alike[0]["error"] is None:
                    failed += sum(row["error"] is not None for row in detected)
                    progress.advance(len(detected))
                rows += detected
            writer.append(_frame(rows))
            writer.end_part()
    rate = total / max(progress.seconds, 1e-9)
    tally = session.tally
    context.log.info(f"{total - failed} frames, {rate:.1f}/s, {failed} failed; {tally.sentence()}")
    return dg.MaterializeResult(
        metadata={
            **written(tables.ocr_boxes, writer),
            "frames": total - failed,
            "failed": failed,
            "frames_per_second": rate,
            **_device_metadata(tally),
            "most_covered_frames": dg.MetadataValue.md(sheet.markdown()),
        }
    )


def _batches(part: pl.LazyFrame, most: int) -> Iterator[list[dict[str, Any]]]:
    """The part's rows in order, together where they follow each other and have one size."""
    rows = part.collect().iter_rows(named=True)
    for _, alike in itertools.groupby(
        rows, lambda row: (row["error"], row["width"], row["height"])
    ):
        while batch := list(itertools.islice(alike, most)):
            yield batch


def _detect(
    frames: list[dict[str, Any]],
    session: DetectionSession,
    thresholds: DetectionThresholds,
    sheet: ContactSheet,
) -> list[dict[str, Any]]:
    """The rows of frames of one size, with their boxes or the reason why there are none."""
    rows = [_copied(frame) for frame in frames]
    pictures: dict[int, NDArray[np.uint8]] = {}
    for index, frame in enumerate(frames):
        if frame["error"] is None:
            try:
                pictures[index] = decode_image(frame["image"])
            except ValueError as error:
                rows[index]["error"] = str(error)
    outcomes = session.detect(list(pictures.values()), thresholds)
    for (index, rgb), outcome in zip(pictures.items(), outcomes, strict=True):
        if isinstance(outcome, DetectionError):
            rows[index]["error"] = str(outcome)
            continue
        height, width = rgb.shape[:2]
        ratio = ocr_area_ratio(outcome.boxes, width, height)
        sheet.consider(rgb, outcome.boxes, ratio, str(rows[index]["video_id"]))
        rows[index] |= {
            "boxes": [_box_row(box) for box in outcome.boxes],
            "ocr_area_ratio": ratio,
            "union_area_ratio": union_area_ratio(outcome.boxes, width, height),
            "device": outcome.device,
            "milliseconds": outcome.milliseconds,
        }
    return rows


def _device_metadata(tally: Tally) -> dict[str, Any]:
    """Where the frames were detected, and what it took to get them there."""
    frames = max(tally.frames.total(), 1)
    return {
        "devices": dict(tally.frames),
        "device_share": {device: count / frames for device, count in tally.frames.items()},
        "fallbacks": tally.moves,
        "waits": tally.waits,
        "wait_seconds": tally.wait_seconds,
        "out_of_memory": tally.out_of_memory,
        "batches_halved": tally.halvings,
        "gpu_peak_bytes": tally.peak_bytes,
        "gpu_lease_bytes": tally.lease_bytes,
    }


def _copied(frame: dict[str, Any]) -> dict[str, Any]:
    """What a row of boxes takes over from its frame; of a video without frames, the error."""
    copied = ("video_id", "frame_index", "width", "height", "error")
    return dict.fromkeys(OcrBoxes.column_names()) | {name: frame[name] for name in copied}


def _box_row(box: TextBox) -> dict[str, Any]:
    return dataclasses.asdict(box) | {"points": [list(point) for point in box.points]}


def _frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=OcrBoxes.create_empty().drop("date").schema)
