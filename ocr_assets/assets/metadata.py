"""Metadata that all assets report in the same way, and what the others are called.

Dagster plots every number over the partitions, and the coverage report adds them up. So these names
stay as they are, numbers are entries of their own, and one that has no value is left out instead of
being 0, which leaves a gap in its plot. Metadata is kept in the event log, so that of a day stays
below about 100 KB.

Of every asset:
    `seconds`: what the day took, by the clock
Of every table:
    `dagster/partition_row_count`, `stored_bytes`: rows, and the size of their files
    `dagster/uri`, `partition_path`: where the table is, and the day's files in it
`video_manifest`:
    `samples`, `readable`, `unreadable`, `unchanged`: samples, videos, those not read again
    `total_seconds`, `total_bytes`: length and size of the readable videos
    `unreadable_by_status`: JSON; `formats`, `statuses`: Markdown
    `source`, `source_fingerprint`: what the day was made from, for the sensor `late_videos`
`sampled_frames`:
    `videos`, `frames`, `videos_failed`, `videos_reused`, `videos_per_second`
    `first_frames`: Markdown
`ocr_boxes`:
    `frames`, `failed`, `frames_reused`
    `frames_per_second`: of those detected in this run, the model's loading and waits included
    `fallback_share`: share of them detected on the CPU, in a step that may use GPUs and saw one
        when it began; 0 where there is no GPU or `device` is `cpu`
    `device_share/<device>`: share of them detected there; `devices`: their counts as JSON
    `fallbacks`, `waits`, `wait_seconds`, `out_of_memory`, `batches_halved`: see `ocr.reader.Tally`
    `gpu_peak_bytes`, `gpu_lease_bytes`: the most that PyTorch took from a GPU, the largest lease
    `most_covered_frames`: Markdown
`filtered_dataset`:
    `keep`, `drop`, `quarantine`: samples; `keep_share`, `drop_share`, `quarantine_share`
    `mean_ratio`: mean of the metric over the videos that have it
    `metric`, `any_or_all`, `min_area_ratio`, `max_area_ratio`: the rule
    `reasons`: JSON; `histogram`, `nearest_to_bounds`, `quarantined_samples`: Markdown
    `kept_jsonl`: the file
`coverage_report`:
    `report`: the file; `stored_bytes`: its size; `pictures`: how many frames are shown in it
    `overview`: Markdown
"""

import datetime as dt
import re
from typing import Any

import dagster as dg
import dataframely as dy

from ocr_assets import settings
from ocr_assets.tables.delta_log import folder_of
from ocr_assets.tables.examples import example_markdown
from ocr_assets.tables.folder import folder_at
from ocr_assets.tables.partitioned import PartitionedTable

SECONDS = "seconds"
TABLE = "dagster/uri"


def page_text(text: str, schema: type[dy.Schema] | None) -> str:
    """An asset's description: what is said of it, and an example row of its table if it has one."""
    return text if schema is None else f"{text}\n\n{example_markdown(schema)}"


def table_metadata(name: str, schema: type[dy.Schema]) -> dict[str, Any]:
    """A table's columns, and where it is unless a run's config names another folder."""
    return {
        "dagster/column_schema": column_schema(schema),
        "dagster/table_name": dg.MetadataValue.text(name),
        TABLE: dg.MetadataValue.text(_default_path(name)),
    }


def column_schema(schema: type[dy.Schema]) -> dg.TableSchema:
    """A table's columns with their types and descriptions, for the asset's page."""
    empty = schema.create_empty()
    return dg.TableSchema(
        [
            dg.TableColumn(
                name,
                # The fields of a structure are in its description; here they take its place.
                type=re.sub(r"Struct\(.*\}\)", "Struct", str(empty.schema[name])),
                description=column.description,
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
            )
            for name, column in schema.columns().items()
        ]
    )


def written(table: PartitionedTable, date: dt.date, row_count: int) -> dict[str, dg.MetadataValue]:
    """Where a partition was written, how many rows it has and how large its files are."""
    return {
        "dagster/partition_row_count": dg.MetadataValue.int(row_count),
        TABLE: dg.MetadataValue.path(table.uri),
        "partition_path": dg.MetadataValue.path(table.folder.address(folder_of(date))),
        "stored_bytes": dg.MetadataValue.int(table.stored(date).bytes),
    }


def _default_path(name: str) -> str:
    root = settings.fields_set("tables").get("root")
    known = root if isinstance(root, str) else settings.data_root()
    try:
        return folder_at(known).address(name)
    except ValueError:
        return f"{known}/{name}"  # it is refused where the resource is made
