"""The daily partitions that all four assets share."""

import datetime as dt

import dagster as dg

from ocr_assets import settings

# end_offset=1: today is a partition too, so that a folder of clips can be run the day it arrives.
# The schedule still asks for yesterday, which is complete.
daily = dg.DailyPartitionsDefinition(start_date=settings.first_date().isoformat(), end_offset=1)


def partition_date(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> dt.date:
    """The day a step works on."""
    return dt.date.fromisoformat(context.partition_key)
