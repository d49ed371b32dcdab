"""The text on the sampled frames."""

import dataclasses
import datetime as dt
import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
from numpy.typing import NDArray

from ocr_assets import settings
from ocr_assets.assets.daily_asset import daily_asset, each_day, run_of
from ocr_assets.assets.metadata import written
from ocr_assets.coverage import ocr_area_ratio, union_area_ratio
from ocr_assets.ocr.boxes import TextBox
from ocr_assets.ocr.detector import DetectionError
from ocr_assets.ocr.reader import Tally
from ocr_assets.ocr.session import DetectionSession
from ocr_assets.ocr.thresholds import DetectionThresholds
from ocr_assets.progress import Progress
from ocr_assets.reports.contact_sheet import ContactSheet
from ocr_assets.resources.easyocr import EasyOCRResource
from ocr_assets.resources.tables import Tables
from ocr_assets.tables.schemas import OcrBoxes
from ocr_assets.video.images import decode_image

CODE_VERSION = "1"


@daily_asset(
    OcrBoxes,
    deps=["sampled_frames"],
    kinds={"pytorch"},
    code_version=CODE_VERSION,
    pool=settings.gpu_pool(),
)
def ocr_boxes(
    context: dg.AssetExecutionContext, easyocr: EasyOCRResource, tables: Tables
) -> dg.MaterializeResult[None]:
    """EasyOCR's text boxes on every sampled frame, and the share of the frame they cover."""
    return each_day(context, lambda date: _find_text(context, date, easyocr, tables))


def _find_text(
    context: dg.AssetExecutionContext, date: dt.date, easyocr: EasyOCRResource, tables: Tables
) -> dict[str, Any]:
    paths = tables.sampled_frames.parts(date)
    parts = [tables.sampled_frames.scan_part(path, date) for path in paths]
    total = _count_frames(parts)
    made_from = _made_from(paths, easyocr)
    if _is_retry(context) and tables.ocr_boxes.made_from(date) == made_from:
        detected = _count_frames(list(tables.ocr_boxes.scan_parts(date)))
        context.log.info(f"{date} was done by an earlier try, {detected} frames")
        return {
            **written(tables.ocr_boxes, tables.ocr_boxes.row_count(date)),
            "frames": detected,
            "failed": total - detected,
        }
    thresholds = easyocr.thresholds()
    sheet = ContactSheet()
    with (
        easyocr.session(context.log.info, f"ocr_boxes of {date}") as session,
        tables.ocr_boxes.replace(date, made_from=made_from) as writer,
    ):
        done = _count_frames(parts[: writer.resumed_parts])
        if done:
            context.log.info(f"{done} of {total} frames were done by an earlier try")
        progress = Progress(context.log.info, "frames", total=total - done)
        for part in parts[writer.resumed_parts :]:
            rows = []
            for alike in _batches(part, easyocr.max_batch_frames):
                rows += _detect(alike, session, thresholds, sheet)
                if alike[0]["error"] is None:
                    progress.advance(len(alike))
            writer.append(_frame(rows))
            writer.end_part()
    detected = _count_frames(list(tables.ocr_boxes.scan_parts(date)))
    rate = progress.done / max(progress.seconds, 1e-9)
    context.log.info(
        f"{detected} frames, {rate:.1f}/s, {total - detected} failed; {session.tally.sentence()}"
    )
    return {
        **written(tables.ocr_boxes, writer.row_count),
        "frames": detected,
        "failed": total - detected,
        "frames_per_second": rate,
        **_device_metadata(session.tally),
        "most_covered_frames": dg.MetadataValue.md(sheet.markdown()),
    }


def _count_frames(parts: list[pl.LazyFrame]) -> int:
    """The rows without an error: frames that were sampled, or detected."""
    frames = [part.filter(pl.col("error").is_null()).select(pl.len()) for part in parts]
    return sum(int(count.item()) for count in pl.collect_all(frames))


def _is_retry(context: dg.AssetExecutionContext) -> bool:
    """Whether this step was tried before, in this run or in the one that it is to complete."""
    run = run_of(context)
    return run is not None and (context.retry_number > 0 or settings.FROM_FAILURE_TAG in run.tags)


def _made_from(paths: list[Path], easyocr: EasyOCRResource) -> str:
    """What the boxes are made from and how, so that an interrupted step can be taken up."""
    frames = [path.name for path in paths]
    parts = (frames, CODE_VERSION, easyocr.model(), easyocr.thresholds())
    return hashlib.sha256(repr(parts).encode()).hexdigest()


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
