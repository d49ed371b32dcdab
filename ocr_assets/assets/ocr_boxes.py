"""The text on the sampled frames."""

import dataclasses
import time
from collections import Counter
from typing import Any

import dagster as dg
import polars as pl

from ocr_assets import settings
from ocr_assets.assets.metadata import column_schema, written
from ocr_assets.coverage import ocr_area_ratio, union_area_ratio
from ocr_assets.ocr.boxes import TextBox
from ocr_assets.ocr.detector import DetectionError, DetectionThresholds, TextDetector
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
    # Loaded here and not in the loop; a day without frames needs none.
    detector = easyocr.detector() if total > 0 else None
    if detector is not None:
        context.log.info(f"{total} frames; the detector runs on {detector.device}")
    thresholds = easyocr.thresholds()
    progress = Progress(context.log.info, "frames", total=total)
    outcomes: Counter[str] = Counter()
    sheet = ContactSheet()
    with tables.ocr_boxes.replace(date) as writer:
        for part in tables.sampled_frames.scan_parts(date):
            rows = []
            for frame in part.collect().iter_rows(named=True):
                if detector is None or frame["error"] is not None:
                    row = _copied(frame)
                else:
                    row = _detect(frame, detector, thresholds, sheet)
                    outcomes[str(row["device"] or "failed")] += 1
                    progress.advance()
                rows.append(row)
            writer.append(_frame(rows))
            writer.end_part()
    failed = outcomes["failed"]
    rate = total / max(progress.seconds, 1e-9)
    context.log.info(f"{total - failed} frames, {rate:.1f}/s, {failed} failed")
    return dg.MaterializeResult(
        metadata={
            **written(tables.ocr_boxes, writer),
            "frames": total - failed,
            "failed": failed,
            "devices": dict(outcomes),
            "frames_per_second": rate,
            "most_covered_frames": dg.MetadataValue.md(sheet.markdown()),
        }
    )


def _detect(
    frame: dict[str, Any],
    detector: TextDetector,
    thresholds: DetectionThresholds,
    sheet: ContactSheet,
) -> dict[str, Any]:
    """The row of one frame, with its boxes or the reason why there are none."""
    row = _copied(frame)
    try:
        rgb = decode_image(frame["image"])
        started = time.perf_counter()
        boxes = detector.detect(rgb, thresholds)
        seconds = time.perf_counter() - started
    except (ValueError, DetectionError) as error:
        return row | {"error": str(error)}
    height, width = rgb.shape[:2]
    ratio = ocr_area_ratio(boxes, width, height)
    sheet.consider(rgb, boxes, ratio, str(frame["video_id"]))
    return row | {
        "boxes": [_box_row(box) for box in boxes],
        "ocr_area_ratio": ratio,
        "union_area_ratio": union_area_ratio(boxes, width, height),
        "device": detector.device,
        "milliseconds": seconds * 1000,
    }


def _copied(frame: dict[str, Any]) -> dict[str, Any]:
    """What a row of boxes takes over from its frame; of a video without frames, the error."""
    copied = ("video_id", "frame_index", "width", "height", "error")
    return dict.fromkeys(OcrBoxes.column_names()) | {name: frame[name] for name in copied}


def _box_row(box: TextBox) -> dict[str, Any]:
    return dataclasses.asdict(box) | {"points": [list(point) for point in box.points]}


def _frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=OcrBoxes.create_empty().drop("date").schema)
