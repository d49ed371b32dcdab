"""The daily partitions that all four assets share."""

import datetime as dt
from collections.abc import Mapping

import dagster as dg

from ocr_assets import settings

# end_offset=1: today is a partition too, so that a folder of clips can be run the day it arrives.
# The schedule still asks for yesterday, which is complete.
daily = dg.DailyPartitionsDefinition(start_date=settings.first_date().isoformat(), end_offset=1)


def partition_dates(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
) -> list[dt.date]:
    """The days a step works on: one, or in a backfill several, in order."""
    return [dt.date.fromisoformat(key) for key in context.partition_keys]


def run_span(tags: Mapping[str, str]) -> tuple[str, str] | None:
    """First and last partition of a run, by its tags; None if it is no run of partitions.

    As text: partitions of other projects need not be dates.
    """
    if settings.PARTITION_TAG in tags:
        return tags[settings.PARTITION_TAG], tags[settings.PARTITION_TAG]
    if settings.RANGE_START_TAG in tags:
        return tags[settings.RANGE_START_TAG], tags[settings.RANGE_END_TAG]
    return None


def run_dates(tags: Mapping[str, str]) -> list[dt.date]:
    """The days a run of this project's assets works on; none if it is no run of partitions."""
    span = run_span(tags)
    keys = daily.get_partition_keys_in_range(dg.PartitionKeyRange(*span)) if span else []
    return [dt.date.fromisoformat(key) for key in keys]
