"""In which partitions there may be work that need not be done again."""

import datetime as dt
from typing import Any

import polars as pl

from ocr_assets.config_fields import number
from ocr_assets.tables.partitioned import PartitionedTable
from ocr_assets.tables.storage_errors import UNREADABLE_PART


def reuse_days_field(what: str) -> Any:
    """The config field.

    Args:
        what: What is reused, as the beginning of a sentence.
    """
    return number(
        30,
        0,
        3650,
        (
            f"{what} are copied from partitions at most so many days before or after, instead of "
            "made again. 0: from the day's own earlier partition only. null: all are made again."
        ),
    )


def partitions_to_reuse(
    table: PartitionedTable,
    manifest: PartitionedTable,
    date: dt.date,
    reuse_days: int | None,
    videos: pl.LazyFrame,
) -> dict[dt.date, list[str]]:
    """The partitions of a table that may hold work on the same videos, and their part files.

    The manifest is looked at first, because it is small: of days without a common video nothing is
    opened.

    Args:
        table: What is to be reused.
        manifest: `video_manifest`.
        date: The partition that is to be made; as it is now, it counts as well.
        reuse_days: How many days before and after it to look; None for nowhere.
        videos: Its videos, in the column `video_id`.

    Returns:
        Part files by day, the nearest day first.
    """
    if reuse_days is None:
        return {}
    near = table.parts_near(date, reuse_days)
    others = manifest.scan_near(date, reuse_days) if near.keys() - {date} else None
    if others is None:
        return {day: near[day] for day in near if day == date}
    common = others.join(videos, on="video_id", how="semi").select("date").unique()
    try:
        days = {date, *common.collect().to_series()}
    except UNREADABLE_PART:
        return near  # which of them are of use is found out by looking
    return {day: near[day] for day in near if day in days}
