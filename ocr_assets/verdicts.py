"""From the rows of `video_manifest` and `ocr_boxes` to a verdict on every sample."""

import dataclasses
import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import polars as pl

from ocr_assets.coverage import METRICS, FilterRule, VideoCoverage, judge_sample
from ocr_assets.reasons import Fault, Status
from ocr_assets.tables.partitioned import PartitionedTable
from ocr_assets.text_places import place_ratios

Row = dict[str, Any]

# What is looked at of each of a sample's videos.
OF_A_VIDEO = (
    *("video_index", "video_id", "path", "path_bytes"),
    *("status", "error", "boxes_status", "boxes_error"),
    *METRICS,
)


def rule_text(rule: FilterRule) -> str:
    """The rule as the column `rule` has it."""
    return json.dumps(dataclasses.asdict(rule))


def rule_of(text: str) -> FilterRule:
    """The rule that a row was judged by."""
    return FilterRule(**json.loads(text))


def coverage_of_videos(ocr_boxes: PartitionedTable, date: dt.date) -> pl.DataFrame:
    """Every video of a day with its ratios, or with what is wrong: boxes_status and boxes_error.

    Raises:
        PartitionMissingError: The day was never written.
        TableDamagedError: It cannot be read.
    """
    return pl.concat(map(_coverage, _whole_videos(ocr_boxes, date)))


def judge_day(
    video_manifest: PartitionedTable, videos: pl.DataFrame, date: dt.date, rule: FilterRule
) -> Iterator[list[Row]]:
    """A day's samples with their verdicts, as rows of `filtered_dataset` without `date`.

    Args:
        video_manifest: What the samples are.
        videos: What `coverage_of_videos` says of the day.
        date: The day.
        rule: Which samples to keep.

    Returns:
        The rows of one part of the manifest after the other.

    Raises:
        PartitionMissingError: The day was never written.
        TableDamagedError: It cannot be read.
    """
    for part in video_manifest.scan_parts(date):
        with video_manifest.reading(date):
            samples = _samples(part, videos).collect()
        yield list(_judge(samples, rule))


def _whole_videos(ocr_boxes: PartitionedTable, date: dt.date) -> Iterator[pl.DataFrame]:
    """The day's rows in pieces of about a part; the frames of a video are in one of them."""
    columns = pl.exclude("date", "image_hash", "detection_key", "device", "milliseconds")
    begun: pl.DataFrame | None = None
    for part in ocr_boxes.scan_parts(date):
        with ocr_boxes.reading(date):
            rows = part.select(columns).collect()
        if begun is not None:
            rows = pl.concat([begun, rows])
        # They are written video by video, so only the last one may go on in the next part.
        is_last = pl.col("video_id") == pl.col("video_id").last()
        yield rows.filter(~is_last)
        begun = rows.filter(is_last)
    if begun is not None:
        yield begun


def _coverage(boxes: pl.DataFrame) -> pl.DataFrame:
    places = place_ratios(boxes.filter(pl.col("error").is_null()))
    videos = boxes.group_by("video_id", maintain_order=True).agg(
        pl.col("ocr_area_ratio").mean(),
        pl.col("union_area_ratio").mean(),
        pl.col("union_area_ratio").max().alias("max_union_area_ratio"),
        pl.col("error").drop_nulls().first().alias("boxes_error"),
        pl.col("status").filter(pl.col("error").is_not_null()).first().alias("boxes_status"),
    )
    return videos.join(places, on="video_id", how="left", maintain_order="left")


def _samples(manifest: pl.LazyFrame, videos: pl.DataFrame) -> pl.LazyFrame:
    """A row per sample with its videos and what is known of them."""
    return (
        manifest.join(videos.lazy(), on="video_id", how="left")
        .sort("sample_index", "video_index")
        .group_by("sample_index", maintain_order=True)
        .agg(pl.col("sample_id", "sample_json").first(), pl.struct(OF_A_VIDEO).alias("videos"))
    )


def _judge(samples: pl.DataFrame, rule: FilterRule) -> Iterator[Row]:
    judged_by = rule_text(rule)
    for sample in samples.iter_rows(named=True):
        rows = sample["videos"]
        faults: list[Fault] = []
        if rows[0]["video_index"] is None:  # the row is about the sample: it has no videos
            fault = _fault(rows[0]["status"], rows[0]["error"])
            faults, rows = [fault] if fault else [], []
        known = [_video(one) for one in rows]
        judgement = judge_sample(known or faults, rule)
        read = [
            one if isinstance(of, VideoCoverage) else {}
            for one, of in zip(rows, known, strict=True)
        ]
        row: Row = {metric: [one.get(metric) for one in read] for metric in METRICS}
        row |= {name: sample[name] for name in ("sample_id", "sample_index", "sample_json")}
        row |= {
            "video_ids": [one["video_id"] for one in rows],
            "paths": [one["path"] for one in rows],
            "path_bytes": [one["path_bytes"] for one in rows],
            "verdict": judgement.verdict,
            "reason_code": judgement.reason_code,
            "reason": judgement.reason,
            "rule": judged_by,
        }
        yield row


def _video(row: Row) -> VideoCoverage | Fault:
    """A video's coverage, or why there is none."""
    fault = _fault(row["status"], row["error"]) or _fault(row["boxes_status"], row["boxes_error"])
    if fault is not None:
        return fault
    if row["ocr_area_ratio"] is None:
        return Fault(
            Status.NO_FRAMES,
            "ocr_boxes has nothing of it; materialise sampled_frames and ocr_boxes again",
        )
    try:
        return VideoCoverage(**{metric: row[metric] for metric in METRICS})
    except ValueError as error:
        return Fault(Status.DETECTOR_FAILED, str(error))


def _fault(status: str | None, error: str | None) -> Fault | None:
    """What a row says is wrong; partitions of earlier versions may have no status."""
    return None if error is None else Fault(Status(status or Status.UNREADABLE), error)
