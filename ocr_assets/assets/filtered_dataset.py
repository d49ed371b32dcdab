"""The verdict on every sample."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl
from pydantic import Field, model_validator

from ocr_assets import settings
from ocr_assets.assets.daily_asset import daily_asset, each_day
from ocr_assets.assets.metadata import written
from ocr_assets.config_fields import number
from ocr_assets.coverage import (
    AnyOrAll,
    FilterRule,
    Metric,
    VideoCoverage,
    judge_sample,
)
from ocr_assets.plain_text import markdown_text
from ocr_assets.reasons import Fault, Status
from ocr_assets.reports.histogram import histogram_markdown
from ocr_assets.resources.tables import Tables
from ocr_assets.tables.data_juicer import kept_line
from ocr_assets.tables.partitioned import addressable
from ocr_assets.tables.replace_file import replace_file
from ocr_assets.tables.schemas import DROP, KEEP, QUARANTINE, FilteredDataset

# A day is due the night after it has ended; the windows leave a night's work some hours.
FRESHNESS_POLICY = dg.FreshnessPolicy.time_window(
    fail_window=dt.timedelta(hours=36), warn_window=dt.timedelta(hours=30)
)

# Metadata lives in the event log, so it is kept small.
SAMPLES_SHOWN = 20
CHARACTERS_SHOWN = 200

RATIOS = ("ocr_area_ratio", "union_area_ratio", "max_union_area_ratio")


class FilteredDatasetConfig(dg.Config):
    """Which samples to keep."""

    min_area_ratio: float = number(0.0, 0, 100, "Least share of the frame under text that is kept.")
    max_area_ratio: float = number(
        1.0, 0, 100, "Greatest share of the frame under text that is kept."
    )
    metric: Metric = Field(
        default="ocr_area_ratio",
        description=(
            "`ocr_area_ratio`: sum of box areas / frame area, mean over the frames, as Data-Juicer "
            "has it. `union_area_ratio`: overlaps counted once. `max_union_area_ratio`: the same, "
            "of the most covered frame."
        ),
    )
    any_or_all: AnyOrAll = Field(
        default="any",
        description="Keep a sample if any or if all of its videos lie within the bounds.",
    )

    @model_validator(mode="after")
    def _bounds_are_an_interval(self) -> "FilteredDatasetConfig":
        self.rule()
        return self

    def rule(self) -> FilterRule:
        """The same as the value that `coverage` works with."""
        return FilterRule(self.min_area_ratio, self.max_area_ratio, self.metric, self.any_or_all)


@daily_asset(
    FilteredDataset,
    deps=["video_manifest", "ocr_boxes"],
    kinds={"polars"},
    code_version="1",
    freshness_policy=FRESHNESS_POLICY,
)
def filtered_dataset(
    context: dg.AssetExecutionContext, config: FilteredDatasetConfig, tables: Tables
) -> dg.MaterializeResult[None]:
    """Every sample of the day with its area ratios, its verdict and the reason for it."""
    rule = config.rule()
    return each_day(context, lambda date: _filter(context, date, rule, tables))


def _filter(
    context: dg.AssetExecutionContext, date: dt.date, rule: FilterRule, tables: Tables
) -> dict[str, Any]:
    per_video = _coverage_per_video(tables.ocr_boxes.scan(date)).collect()
    verdicts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    quarantined: list[dict[str, Any]] = []
    ratios: list[float] = []
    kept = settings.kept_jsonl(addressable(tables.root), date)
    with replace_file(kept) as kept_file:
        with tables.filtered_dataset.replace(date) as writer:
            for part in tables.video_manifest.scan_parts(date):
                rows = list(_judge(part, per_video, rule))
                for row in rows:
                    verdicts[row["verdict"]] += 1
                    reasons[row["reason_code"]] += 1
                    if row["verdict"] == QUARANTINE and len(quarantined) < SAMPLES_SHOWN:
                        quarantined.append(row)
                    ratios += [ratio for ratio in row[rule.metric] if ratio is not None]
                    if row["verdict"] == KEEP:
                        kept_file.write(kept_line(row))
                writer.append(_frame(rows))
        writer.ensure_it_stands()  # else the file would take the place of a newer one
    writer.ensure_it_stands()  # nor has it done so in between, or the step says so
    counts = {verdict: verdicts[verdict] for verdict in (KEEP, DROP, QUARANTINE)}
    context.log.info(", ".join(f"{verdict} {count}" for verdict, count in counts.items()))
    return {
        **written(tables.filtered_dataset, writer.row_count),
        **counts,
        "drop_share": counts[DROP] / max(writer.row_count, 1),
        f"mean_{rule.metric}": sum(ratios) / max(len(ratios), 1),
        f"{rule.metric}_histogram": dg.MetadataValue.md(histogram_markdown(ratios)),
        "reasons": dict(reasons.most_common()),
        "quarantined_samples": dg.MetadataValue.md(_table(quarantined)),
        "kept_jsonl": dg.MetadataValue.path(kept),
    }


def _table(rows: list[dict[str, Any]]) -> str:
    """Samples and reasons in Markdown, that shows names of files as they are."""
    head = "| sample | reason_code | reason |\n|---|---|---|"
    columns = ("sample_id", "reason_code", "reason")
    lines = [
        " | ".join(markdown_text(_shortened(row[column])) for column in columns) for row in rows
    ]
    return "\n".join([head, *(f"| {line} |" for line in lines)]) if lines else "none"


def _shortened(text: str) -> str:
    return text if len(text) <= CHARACTERS_SHOWN else f"{text[:CHARACTERS_SHOWN]}..."


def _coverage_per_video(boxes: pl.LazyFrame) -> pl.LazyFrame:
    return boxes.group_by("video_id").agg(
        pl.col("ocr_area_ratio").mean(),
        pl.col("union_area_ratio").mean(),
        pl.col("union_area_ratio").max().alias("max_union_area_ratio"),
        pl.col("error").drop_nulls().first().alias("boxes_error"),
        pl.col("status").filter(pl.col("error").is_not_null()).first().alias("boxes_status"),
    )


def _judge(
    manifest: pl.LazyFrame, per_video: pl.DataFrame, rule: FilterRule
) -> Iterator[dict[str, Any]]:
    samples = (
        manifest.join(per_video.lazy(), on="video_id", how="left")
        .sort("sample_index", "video_index")
        .group_by("sample_index", maintain_order=True)
        .agg(pl.col("sample_id", "sample_json").first(), pl.struct(pl.all()).alias("videos"))
    )
    for sample in samples.collect().iter_rows(named=True):
        about_sample = {key: sample[key] for key in ("sample_id", "sample_index", "sample_json")}
        videos = sample["videos"]
        if videos[0]["video_index"] is None:  # the row is about the sample: it has no videos
            fault = _fault(videos[0]["status"], videos[0]["error"])
            judgement = judge_sample([fault] if fault else [], rule)
            videos = []
        else:
            judgement = judge_sample([_video(video) for video in videos], rule)
        readable = [isinstance(_video(video), VideoCoverage) for video in videos]
        yield about_sample | {
            "video_ids": [video["video_id"] for video in videos],
            "paths": [video["path"] for video in videos],
            "path_bytes": [video["path_bytes"] for video in videos],
            **{
                name: [
                    video[name] if known else None
                    for video, known in zip(videos, readable, strict=True)
                ]
                for name in RATIOS
            },
            "verdict": judgement.verdict,
            "reason_code": judgement.reason_code,
            "reason": judgement.reason,
        }


def _video(row: dict[str, Any]) -> VideoCoverage | Fault:
    """A video's coverage, or why there is none."""
    fault = _fault(row["status"], row["error"]) or _fault(row["boxes_status"], row["boxes_error"])
    if fault is not None:
        return fault
    ratios = [row[name] for name in RATIOS]
    if None in ratios:
        return Fault(
            Status.NO_FRAMES,
            "ocr_boxes has nothing of it; materialise sampled_frames and ocr_boxes again",
        )
    try:
        return VideoCoverage(*ratios)
    except ValueError as error:
        return Fault(Status.DETECTOR_FAILED, str(error))


def _fault(status: str | None, error: str | None) -> Fault | None:
    """What a row says is wrong; partitions of earlier versions may have no status."""
    return None if error is None else Fault(Status(status or Status.UNREADABLE), error)


def _frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=FilteredDataset.create_empty().drop("date").schema)
