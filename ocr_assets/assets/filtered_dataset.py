"""The verdict on every sample."""

import dataclasses
import datetime as dt
from collections import Counter
from typing import Any

import dagster as dg
import polars as pl
from pydantic import Field, model_validator

from ocr_assets import settings
from ocr_assets.assets.daily_asset import daily_asset, each_day
from ocr_assets.assets.metadata import written
from ocr_assets.assets.nearest_to_bounds import NearestToBounds
from ocr_assets.config_fields import number
from ocr_assets.configured import asset_config
from ocr_assets.coverage import GREATEST_BOUND, AnyOrAll, FilterRule, Metric
from ocr_assets.markdown_table import markdown_table
from ocr_assets.reports.charts import histogram_chart, markdown_picture
from ocr_assets.reports.ratio_bins import bin_edges, histogram
from ocr_assets.resources.tables import Tables
from ocr_assets.tables.data_juicer import kept_line
from ocr_assets.tables.schemas import DROP, KEEP, QUARANTINE, FilteredDataset
from ocr_assets.verdicts import coverage_of_videos, judge_day

# A day is due the night after it has ended; the windows leave a night's work some hours.
FRESHNESS_POLICY = dg.FreshnessPolicy.time_window(
    fail_window=dt.timedelta(hours=36), warn_window=dt.timedelta(hours=30)
)

# Metadata lives in the event log, so it is kept small.
SAMPLES_SHOWN = 20
HISTOGRAM_WIDTH = 560  # pixels

A_RATIO = (
    "`metric` that is kept, as a share of the frame: 0.1 is a tenth. `ocr_area_ratio` exceeds 1 "
    "where boxes overlap enough."
)


@asset_config("filtered_dataset")
class FilteredDatasetConfig(dg.Config):
    """Which samples to keep."""

    min_area_ratio: float = number(0.0, 0, GREATEST_BOUND, f"Least {A_RATIO}")
    max_area_ratio: float = number(1.0, 0, GREATEST_BOUND, f"Greatest {A_RATIO}")
    metric: Metric = Field(
        default="ocr_area_ratio",
        description=(
            "`ocr_area_ratio`: sum of box areas / frame area, mean over the frames, as Data-Juicer "
            "has it. `union_area_ratio`: overlaps counted once. `max_union_area_ratio`: the same, "
            "of the most covered frame. `subtitle_zone_ratio`, `corner_ratio`, `centre_ratio`: "
            "text in the bottom quarter, the four corners, the middle, as shares of the whole "
            "frame. `static_text_ratio`: text that stays in its place on all frames, such as "
            "watermarks."
        ),
    )
    any_or_all: AnyOrAll = Field(
        default="any",
        description="Keep a sample of several videos if `any` or if `all` lie within the bounds.",
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
    code_version="2",
    freshness_policy=FRESHNESS_POLICY,
)
def filtered_dataset(
    context: dg.AssetExecutionContext, config: FilteredDatasetConfig, tables: Tables
) -> dg.MaterializeResult[None]:
    """Every sample of the day with its area ratios, its verdict and the reason for it.

    A sample is kept, dropped, or quarantined where something of it could not be read. New bounds
    need only this asset materialised again. The kept samples are in `kept.jsonl`, too.
    """
    rule = config.rule()
    return each_day(context, lambda date: _filter(context, date, rule, tables))


def _filter(
    context: dg.AssetExecutionContext, date: dt.date, rule: FilterRule, tables: Tables
) -> dict[str, Any]:
    videos = coverage_of_videos(tables.ocr_boxes, date)
    verdicts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    quarantined: list[dict[str, Any]] = []
    nearest = NearestToBounds(rule)
    ratios: list[float] = []
    kept = settings.kept_jsonl(date)
    with tables.folder.replaced_text(kept) as kept_file:
        with tables.filtered_dataset.replace(date) as writer:
            for rows in judge_day(tables.video_manifest, videos, date, rule):
                for row in rows:
                    verdicts[row["verdict"]] += 1
                    reasons[row["reason_code"]] += 1
                    nearest.consider(row)
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
        **written(tables.filtered_dataset, date, writer.row_count),
        **counts,
        **{
            f"{verdict}_share": count / writer.row_count
            for verdict, count in counts.items()
            if writer.row_count
        },
        **({"mean_ratio": sum(ratios) / len(ratios)} if ratios else {}),
        "histogram": dg.MetadataValue.md(_histogram(ratios, rule)),
        **dataclasses.asdict(rule),
        "reasons": dict(reasons.most_common()),
        "nearest_to_bounds": dg.MetadataValue.md(nearest.markdown()),
        "quarantined_samples": dg.MetadataValue.md(_table(quarantined)),
        "kept_jsonl": dg.MetadataValue.path(tables.folder.address(kept)),
    }


def _histogram(ratios: list[float], rule: FilterRule) -> str:
    if not ratios:
        return "No video has a ratio."
    counts = histogram(pl.Series(ratios), bin_edges().tolist())
    said = f"Histogram of {rule.metric} of {len(ratios)} videos with the thresholds"
    return markdown_picture(histogram_chart(counts, rule, HISTOGRAM_WIDTH), said)


def _table(rows: list[dict[str, Any]]) -> str:
    """Samples and reasons in Markdown, that shows names of files as they are."""
    columns = ("sample_id", "reason_code", "reason")
    cells = [[row[column] for column in columns] for row in rows]
    return markdown_table(("sample", "reason_code", "reason"), cells)


def _frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=FilteredDataset.create_empty().drop("date").schema)
