"""The daily partitions that all four assets share."""

import datetime as dt
from collections.abc import Mapping, Sequence

import dagster as dg

from ocr_assets import settings

RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"

# end_offset=1: today is a partition too, so that a folder of clips can be run the day it arrives.
# The schedule still asks for yesterday, which is complete.
daily = dg.DailyPartitionsDefinition(start_date=settings.first_date().isoformat(), end_offset=1)


def partition_dates(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
) -> list[dt.date]:
    """The days a step works on: one, or in a backfill several, in order."""
    return [dt.date.fromisoformat(key) for key in context.partition_keys]


def run_dates(tags: Mapping[str, str]) -> list[dt.date]:
    """The days a run works on, by its tags; none if it is no run of partitions."""
    keys: Sequence[str] = []
    if settings.PARTITION_TAG in tags:
        keys = [tags[settings.PARTITION_TAG]]
    elif RANGE_START_TAG in tags:
        ends = dg.PartitionKeyRange(tags[RANGE_START_TAG], tags[RANGE_END_TAG])
        keys = daily.get_partition_keys_in_range(ends)
    return [dt.date.fromisoformat(key) for key in keys]
