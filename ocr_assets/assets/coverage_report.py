"""What people look at to choose a threshold."""

import datetime as dt
from collections.abc import Collection, Mapping
from typing import Any

import dagster as dg
import polars as pl

from ocr_assets import settings
from ocr_assets.assets.daily_asset import daily_asset, each_day
from ocr_assets.assets.metadata import TABLE
from ocr_assets.configured import value_set
from ocr_assets.coverage import METRICS, FilterRule
from ocr_assets.instance import latest_materialization, metadata_values
from ocr_assets.reports.about import Reported, about_report, numbers
from ocr_assets.reports.charts import markdown_picture, overview_chart
from ocr_assets.reports.costs import STAGES
from ocr_assets.reports.coverage_page import CoverageReport, coverage_html
from ocr_assets.reports.examples import choose_examples
from ocr_assets.reports.heat_map import heat_map
from ocr_assets.reports.pictures import FramePicture, frame_pictures
from ocr_assets.resources.tables import Tables
from ocr_assets.tables.partitioned import (
    PartitionedTable,
    PartitionMissingError,
    PartitionOutdatedError,
)
from ocr_assets.verdicts import rule_of

# What else a row holds, its sample's other keys above all, can be large.
COLUMNS = (
    "sample_index",
    "sample_id",
    "video_ids",
    "paths",
    "verdict",
    "reason_code",
    "reason",
    "rule",
    *METRICS,
)


@daily_asset(
    None,
    deps=["sampled_frames", "ocr_boxes", "filtered_dataset"],
    kinds={"html", "altair"},
    code_version="1",
)
def coverage_report(
    context: dg.AssetExecutionContext, tables: Tables
) -> dg.MaterializeResult[None]:
    """One HTML file that shows what the thresholds keep and drop, and what others would.

    It opens from disk and loads nothing. Its thresholds can be dragged: the counts follow at once.
    """
    return each_day(context, lambda date: _report(context, date, tables))


def _report(context: dg.AssetExecutionContext, date: dt.date, tables: Tables) -> dict[str, Any]:
    rows = tables.filtered_dataset.scan(date).select(COLUMNS)
    with tables.filtered_dataset.reading(date):
        samples = rows.sort("sample_index").collect()
    rule = rule_in_use(samples, date)
    examples = choose_examples(samples, rule)
    video_ids = {samples["video_ids"][sample][video] for sample, video in examples.pictured}
    pictures = _pictures(context, date, video_ids, tables)
    name = settings.coverage_report(date)
    earlier = about_report(tables.folder, name)
    report = CoverageReport(
        date=date.isoformat(),
        data=tables.folder.uri,
        rule=rule,
        samples=samples,
        examples=examples,
        pictures=pictures,
        heat_map=heat_map(tables.ocr_boxes, date),
        reported=_reported(context.instance, date, tables, earlier.reported if earlier else {}),
    )
    html = coverage_html(report)
    overview = overview_chart(report.bins[rule.metric], rule, report.heat_map)
    with tables.folder.replaced_text(name) as file:
        file.write(html)
    address, stored_bytes = tables.folder.address(name), len(html.encode())
    context.log.info(f"{address}, {stored_bytes / 1e6:.1f} MB")
    return {
        "report": dg.MetadataValue.path(address),
        "stored_bytes": stored_bytes,
        "pictures": len(report.pictures),
        "overview": dg.MetadataValue.md(
            markdown_picture(overview, "Histogram of the ratio, and where on the frame text is")
        ),
    }


def rule_in_use(samples: pl.DataFrame, date: dt.date) -> FilterRule:
    """What a day's samples were judged by; of a day without any, what others would be.

    Args:
        samples: `rule` of each.
        date: The day.

    Raises:
        PartitionOutdatedError: They do not say it, or not all the same.
    """
    if samples.is_empty():
        return value_set(FilterRule, "filtered_dataset")
    rules = samples["rule"].unique().to_list()
    if None in rules or len(rules) > 1:
        raise PartitionOutdatedError(f"filtered_dataset of {date} was made by an earlier version")
    return rule_of(rules[0])


def _pictures(
    context: dg.AssetExecutionContext, date: dt.date, video_ids: Collection[str], tables: Tables
) -> dict[str, FramePicture]:
    """By video; none where the frames, which take most of the room, were cleared away."""
    try:
        tables.sampled_frames.parts(date)
    except PartitionMissingError as error:
        context.log.warning(f"the report has no pictures: {error}")
        return {}
    pictures = frame_pictures(
        tables.sampled_frames, tables.ocr_boxes, date, video_ids, context.log.warning
    )
    return {picture.video_id: picture for picture in pictures}


def _reported(
    instance: dg.DagsterInstance, date: dt.date, tables: Tables, earlier: Mapping[str, Reported]
) -> dict[str, Reported]:
    """What each step reported when it last wrote the day to these tables, as far as it is known.

    The instance may have seen the day in other tables since, or may have begun with this run, as
    that of a command without DAGSTER_HOME; what it does not know, the day's earlier report may.
    """
    reported = dict(earlier)
    for name in STAGES:
        record = latest_materialization(instance, dg.AssetKey(name), date)
        if record is None:
            continue
        metadata = metadata_values(record.asset_materialization)
        table: PartitionedTable = getattr(tables, name)
        is_news = name not in earlier or record.timestamp > earlier[name].at
        if metadata.get(TABLE) == table.uri and is_news:
            reported[name] = Reported(record.timestamp, numbers(metadata))
    return reported
