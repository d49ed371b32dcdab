"""The text on the sampled frames."""

import datetime as dt
import functools
import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dagster as dg
import polars as pl

from ocr_assets import settings
from ocr_assets.ahead import ahead
from ocr_assets.assets.box_rows import DayOfBoxes
from ocr_assets.assets.daily_asset import daily_asset, each_day, run_of
from ocr_assets.assets.metadata import written
from ocr_assets.assets.reuse import partitions_to_reuse, reuse_days_field
from ocr_assets.assets.reused_boxes import ReusedBoxes
from ocr_assets.configured import asset_config
from ocr_assets.ocr.pipeline import detect_frames
from ocr_assets.ocr.reader import Tally
from ocr_assets.ocr.weights import DETECTOR_FILE, SHA256
from ocr_assets.progress import Progress
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
    easyocr: EasyOCRResource,
    tables: Tables,
) -> dg.MaterializeResult[None]:
    """EasyOCR's text boxes on every sampled frame, and the share of the frame they cover.

    A frame without text has a row without boxes. The boxes are kept, not only the shares, so that
    thresholds can change without any text being looked for again.
    """
    return each_day(context, lambda date: _find_text(context, date, config, easyocr, tables))


def _find_text(
    context: dg.AssetExecutionContext,
    date: dt.date,
    config: OcrBoxesConfig,
    easyocr: EasyOCRResource,
    tables: Tables,
) -> dict[str, Any]:
    names = tables.sampled_frames.parts(date)
    key = _detection_key(easyocr)
    parts = _parts_of_the_day(tables, names, date)
    made_from = _made_from(parts, key)
    frames = _frames(parts)
    if _is_retry(context) and tables.ocr_boxes.made_from(date) == made_from:
        detected = _count_detected(tables, date)
        context.log.info(f"{date} was done by an earlier try, {detected} frames")
        return {
            **written(tables.ocr_boxes, date, tables.ocr_boxes.row_count(date)),
            "frames": detected,
            "failed": frames.height - detected,
        }
    days = partitions_to_reuse(
        tables.ocr_boxes,
        tables.video_manifest,
        date,
        config.reuse_days,
        frames["video_id"].unique().to_list(),
    )
    known = ReusedBoxes(tables.ocr_boxes, days, key, frames["image_hash"].drop_nulls().unique())
    with (
        easyocr.session(context.log.info, f"ocr_boxes of {date}") as session,
        tables.ocr_boxes.replace(date, made_from=made_from) as writer,
        ThreadPoolExecutor(1, thread_name_prefix="frames reader") as reader,
    ):
        left = frames
        if writer.resumed_parts:
            left = _frames(parts[writer.resumed_parts :])
            done = frames.height - left.height
            context.log.info(f"{done} of {frames.height} frames were done by an earlier try")
        unknown = left.height - known.count(left["image_hash"])
        progress = Progress(context.log.info, "frames", total=unknown)
        day = DayOfBoxes(key, known, _repeated(left), progress)
        read = functools.partial(_read_part, tables, date)
        left_names = names[writer.resumed_parts :]
        for part in detect_frames(
            ((part, part.to_do) for part in map(day.part, ahead(reader, read, left_names, most=1))),
            session,
            easyocr.thresholds(),
            easyocr.max_batch_frames,
        ):
            writer.append(part.frame())
            writer.end_part()
    detected = _count_detected(tables, date)
    failed = frames.height - detected
    context.log.info(
        f"{detected} frames, {progress.rate:.1f}/s, {failed} failed, {day.reused} known already; "
        f"{session.tally.sentence()}"
    )
    return {
        **written(tables.ocr_boxes, date, writer.row_count),
        "frames": detected,
        "failed": failed,
        "frames_reused": day.reused,
        **({"frames_per_second": progress.rate} if progress.done else {}),
        **_device_metadata(session.tally),
        "most_covered_frames": dg.MetadataValue.md(day.sheet.markdown()),
    }


def _is_retry(context: dg.AssetExecutionContext) -> bool:
    """Whether this step was tried before, in this run or in the one that it is to complete."""
    run = run_of(context)
    return run is not None and (context.retry_number > 0 or settings.FROM_FAILURE_TAG in run.tags)


def _parts_of_the_day(tables: Tables, names: Iterable[str], date: dt.date) -> list[pl.DataFrame]:
    """What tells the rows of each part apart, without what makes them large."""
    columns = ("video_id", "frame_index", "image_hash", "error")
    parts = [tables.sampled_frames.scan_part(name, date).select(columns) for name in names]
    with tables.sampled_frames.reading(date):
        return pl.collect_all(parts)


def _frames(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Video and hash of every frame."""
    empty = pl.DataFrame(schema={"video_id": pl.String, "image_hash": pl.String})
    frames = [part.filter(pl.col("error").is_null()).select(empty.columns) for part in parts]
    return pl.concat([empty, *frames])


def _repeated(frames: pl.DataFrame) -> set[str]:
    """The hashes of pictures that the day has more than once."""
    hashes = frames["image_hash"].drop_nulls()
    return {*hashes.filter(hashes.is_duplicated())}


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


def _made_from(parts: Sequence[pl.DataFrame], key: str) -> str:
    """What the boxes are made from and how, so that an interrupted step can be taken up.

    By content: frames that were sampled again in the same way are the same frames.
    """
    digest = hashlib.sha256(key.encode())
    for part in parts:
        digest.update(part.write_csv().encode())  # its header tells where a part begins
    return digest.hexdigest()


def _read_part(tables: Tables, date: dt.date, name: str) -> list[dict[str, Any]]:
    with tables.sampled_frames.reading(date):
        return tables.sampled_frames.scan_part(name, date).collect().to_dicts()


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
