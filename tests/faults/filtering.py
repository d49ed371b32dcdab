"""A step as the processes run it to which faults happen."""

from pathlib import Path

import dagster as dg

from ocr_assets.assets.filtered_dataset import FilteredDatasetConfig, filtered_dataset
from ocr_assets.resources.tables import Tables
from tests.pipeline import DAY


def filter_day(data: Path, max_area_ratio: float) -> None:
    """The verdicts of a day, without the lock that keeps runs of it apart."""
    with dg.build_asset_context(
        partition_key=DAY, resources={"tables": Tables(root=str(data))}
    ) as context:
        filtered_dataset(context, FilteredDatasetConfig(max_area_ratio=max_area_ratio))
