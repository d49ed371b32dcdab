"""The text on the sampled frames."""

import dataclasses
import time
from collections import Counter

import dagster as dg
import polars as pl

from ocr_assets import settings
from ocr_assets.assets.metadata import column_schema, written
from ocr_assets.coverage import ocr_area_ratio, union_area_ratio
from ocr_assets.ocr.boxes import TextBox
from ocr_assets.ocr.detector import DetectionError
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
    total = int(tables.sampled_frames.scan(date).select(pl.len()).collect().item())
    progress = Progress(context.log.info, "frames", total=total)
    outcomes: Counter[str] = Counter()
    sheet = ContactSheet()
    with tables.ocr_boxes.replace(date) as writer:
        for part in tables.sampled_frames.scan_parts(date):
            rows = []
            for frame in part.collect().iter_rows(named=True):
                row = _detect(frame, easyocr, sheet)
                outcomes[str(row["device"] or "failed")] += 1
                rows.append(row)
                progress.advance()
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
    frame: dict[str, object], easyocr: EasyOCRResource, sheet: ContactSheet
) -> dict[str, object]:
    """The row of one frame; a video that gave no frame keeps its error."""
    row: dict[str, object] = {
        **dict.fromkeys(OcrBoxes.column_names()),
        **{name: frame[name] for name in ("video_id", "frame_index", "width", "height", "error")},
    }
    image = frame["image"]
    if not isinstance(image, bytes):
        return row
    try:
        rgb = decode_image(image)
        detector = easyocr.detector()
        started = time.perf_counter()
        boxes = detector.detect(rgb, easyocr.thresholds())
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
        "milliseconds": (time.perf_counter() - started) * 1000,
    }


def _box_row(box: TextBox) -> dict[str, object]:
    return dataclasses.asdict(box) | {"points": [list(point) for point in box.points]}


def _frame(rows: list[dict[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=OcrBoxes.create_empty().drop("date").schema)
