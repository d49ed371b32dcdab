"""The text on the sampled frames."""

import datetime as dt
import hashlib
from typing import Any

import dagster as dg
import polars as pl

from ocr_assets import settings
from ocr_assets.assets.covered_frames import covered_frames_markdown
from ocr_assets.assets.daily_asset import daily_asset, each_day, run_of
from ocr_assets.assets.day_of_frames import DayOfFrames, UnitsOfBoxes
from ocr_assets.assets.metadata import written
from ocr_assets.assets.reuse import partitions_to_reuse, reuse_days_field
from ocr_assets.compute.boxes_work import BoxesWork
from ocr_assets.compute.interface import Compute
from ocr_assets.compute.known_boxes import KnownBoxes
from ocr_assets.compute.most_covered import MostCovered
from ocr_assets.compute.observer import Observer
from ocr_assets.configured import asset_config
from ocr_assets.ocr.reader import Tally
from ocr_assets.ocr.weights import DETECTOR_FILE, SHA256
from ocr_assets.progress import Progress
from ocr_assets.resources.compute import ComputeResource
from ocr_assets.resources.easyocr import EasyOCRResource
from ocr_assets.resources.tables import Tables
from ocr_assets.tables.schemas import OcrBoxes

CODE_VERSION = "2"


@asset_config("ocr_boxes")
class OcrBoxesConfig(dg.Config):
    """What need not be done again."""

    reuse_days: int | None = reuse_days_field(
        "Boxes that were found with the same settings on frames with the same pixels"
    )


@daily_asset(
    OcrBoxes,
    deps=["sampled_frames"],
    kinds={"pytorch"},
    code_version=CODE_VERSION,
    pool=settings.gpu_pool(),
)
def ocr_boxes(
    context: dg.AssetExecutionContext,
    config: OcrBoxesConfig,
    compute: ComputeResource,
    easyocr: EasyOCRResource,
    tables: Tables,
) -> dg.MaterializeResult[None]:
    """EasyOCR's text boxes on every sampled frame, and the share of the frame they cover.

    A frame without text has a row without boxes. The boxes are kept, not only the shares, so that
    thresholds can change without any text being looked for again.
    """
    return each_day(
        context, lambda date: _find_text(context, date, config, compute.workers(), easyocr, tables)
    )


def _find_text(
    context: dg.AssetExecutionContext,
    date: dt.date,
    config: OcrBoxesConfig,
    compute: Compute,
    easyocr: EasyOCRResource,
    tables: Tables,
) -> dict[str, Any]:
    day = DayOfFrames.read(tables.sampled_frames, date)
    key = _detection_key(easyocr)
    made_from = hashlib.sha256(f"{key} {day.digest}".encode()).hexdigest()
    frames = sum(day.frames)
    if _is_retry(context) and tables.ocr_boxes.made_from(date) == made_from:
        detected = _count_detected(tables, date)
        context.log.info(f"{date} was done by an earlier try, {detected} frames")
        return {
            **written(tables.ocr_boxes, date, tables.ocr_boxes.row_count(date)),
            "frames": detected,
            "failed": frames - detected,
        }
    days = partitions_to_reuse(
        tables.ocr_boxes,
        tables.video_manifest,
        date,
        config.reuse_days,
        tables.sampled_frames.scan(date).select("video_id"),
    )
    reused, failed = 0, 0
    tally, most_covered = Tally(), MostCovered()
    with tables.ocr_boxes.replace_units(
        date, made_from=made_from, is_shared=compute.is_shared
    ) as writer:
        finished = set(writer.finished_units)
        resumed = writer.resumed("frame_index", "error").drop_nulls()
        left = [number for number in range(len(day.parts)) if number not in finished]
        if finished:
            done = frames - sum(day.frames[number] for number in left)
            context.log.info(f"{done} of {frames} frames were done by an earlier try")
        known = KnownBoxes(tables.ocr_boxes, days, key, day.sorted_numbers(left))
        unknown = sum(day.frames[number] for number in left) - known.count
        progress = Progress(context.log.info, "frames", total=unknown)
        work = BoxesWork(
            tables.sampled_frames,
            tables.ocr_boxes,
            date,
            writer.place,
            key,
            easyocr.thresholds(),
            easyocr.max_batch_frames,
        )
        units = UnitsOfBoxes(tables.sampled_frames, date, day, left, known)
        observer = Observer(progress.advance, context.log.info)
        for one in compute.detect(work, units, observer, easyocr, f"ocr_boxes of {date}"):
            writer.add_unit(one.unit, one.parts)
            units.finished(one.unit, one.parts[0].relative)
            reused += one.known + one.repeated
            failed += one.failed
            tally.add(one.tally)
            most_covered.consider(one.most_covered)
    failed += resumed.height
    detected = frames - failed
    context.log.info(
        f"{detected} frames, {progress.rate:.1f}/s, {failed} failed, {reused} known already; "
        f"{tally.sentence()}"
    )
    sheet = covered_frames_markdown(tables.sampled_frames, date, most_covered.in_order())
    return {
        **written(tables.ocr_boxes, date, writer.row_count),
        "frames": detected,
        "failed": failed,
        "frames_reused": reused,
        **({"frames_per_second": progress.rate} if progress.done else {}),
        **_device_metadata(tally),
        "most_covered_frames": dg.MetadataValue.md(sheet),
    }


def _is_retry(context: dg.AssetExecutionContext) -> bool:
    """Whether this step was tried before, in this run or in the one that it is to complete."""
    run = run_of(context)
    return run is not None and (context.retry_number > 0 or settings.FROM_FAILURE_TAG in run.tags)


def _count_detected(tables: Tables, date: dt.date) -> int:
    detected = tables.ocr_boxes.scan(date).filter(pl.col("error").is_null()).select(pl.len())
    return int(detected.collect().item())


def _detection_key(easyocr: EasyOCRResource) -> str:
    """The settings that decide what is found on a picture, as a hash.

    Under `auto` the device has a say in it, too; what one device found is good for the others.
    """
    model = easyocr.model()
    languages = model.languages if model.recognize else ()
    weights = SHA256[DETECTOR_FILE]
    parts = (CODE_VERSION, weights, model.precision, languages, easyocr.thresholds())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _device_metadata(tally: Tally) -> dict[str, Any]:
    """Where the frames were detected, and what it took to get them there."""
    detected = +tally.frames
    shares = {device: count / detected.total() for device, count in detected.items()}
    return {
        "devices": dict(detected),
        **{f"device_share/{device}": share for device, share in shares.items()},
        **({"fallback_share": tally.fallback_share} if shares else {}),
        "fallbacks": tally.moves,
        "waits": tally.waits,
        "wait_seconds": tally.wait_seconds,
        "out_of_memory": tally.out_of_memory,
        "batches_halved": tally.halvings,
        **(
            {"gpu_peak_bytes": tally.peak_bytes, "gpu_lease_bytes": tally.lease_bytes}
            if tally.lease_bytes
            else {}
        ),
    }
