"""What a day's videos are, in numbers and small tables for the page of `video_manifest`."""

from typing import Any

import dagster as dg
import polars as pl

from ocr_assets.gpu.sizes import MIB
from ocr_assets.markdown_table import Cell, markdown_table
from ocr_assets.progress import time_text
from ocr_assets.reasons import Status

MOST_VALUES = 6  # of a kind; what is more rare is told in one line
KINDS = {
    "container": pl.col("container"),
    "codec": pl.col("codec"),
    "size": pl.format("{}x{}", "width", "height"),
}


def contents(manifest: pl.LazyFrame) -> dict[str, Any]:
    """Metadata of a day: the length and size of its readable videos, their formats, all statuses.

    Args:
        manifest: Rows of `video_manifest`.
    """
    columns = ("container", "codec", "width", "height", "duration_seconds", "bytes", "status")
    is_video = pl.col("video_index").is_not_null() | (pl.col("status") != Status.OK)
    videos = manifest.filter(is_video).select(columns).collect()
    readable = videos.filter(pl.col("status") == Status.OK)
    return {
        "total_seconds": float(readable["duration_seconds"].sum()),
        "total_bytes": int(readable["bytes"].sum()),
        "formats": dg.MetadataValue.md(_formats(readable)),
        "statuses": dg.MetadataValue.md(_statuses(videos)),
    }


def _formats(videos: pl.DataFrame) -> str:
    rows: list[tuple[Cell, ...]] = []
    for kind, value in KINDS.items():
        counts = (
            videos.group_by(value.fill_null("?").alias("value"))
            .agg(pl.len(), pl.col("duration_seconds", "bytes").sum())
            .sort("len", "value", descending=[True, False])
        )
        rare = counts[MOST_VALUES:]
        if rare.height > 1:
            others = rare.select(
                pl.lit(f"{rare.height} others").alias("value"), pl.all().exclude("value").sum()
            )
            counts = pl.concat([counts[:MOST_VALUES], others])
        rows += [
            (kind, value, count, time_text(seconds), round(size_bytes / MIB, 1))
            for value, count, seconds, size_bytes in counts.iter_rows()
        ]
    return markdown_table(("", "", "videos", "length", "MiB"), rows)


def _statuses(videos: pl.DataFrame) -> str:
    counts = videos["status"].value_counts(sort=True)
    rows = [(status, count, Status(status).meaning) for status, count in counts.iter_rows()]
    return markdown_table(("status", "videos", "meaning"), rows)
