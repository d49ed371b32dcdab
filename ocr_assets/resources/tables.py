"""Where the tables are kept."""

import contextlib
import datetime as dt
from collections.abc import Iterator
from typing import Self

import dagster as dg
import dataframely as dy
from pydantic import Field, field_validator

from ocr_assets.config_fields import DAY_SECONDS, number
from ocr_assets.partitions import run_dates
from ocr_assets.tables.day_lock import days_locked
from ocr_assets.tables.partitioned import ParquetCompression, PartitionedTable, addressable
from ocr_assets.tables.schemas import FilteredDataset, OcrBoxes, SampledFrames, VideoManifest


class Tables(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The four Delta tables under one folder.

    A run has its days in them to itself: a second run of a day waits until the first has ended.
    """

    root: str = Field(default="data", min_length=1, description="The folder that holds the tables.")
    wait_seconds: float = number(
        86_400,
        0,
        30 * DAY_SECONDS,
        (
            "How long a run waits for another one that works on the same day, in seconds, before "
            "it fails and names it. Unless set: a day."
        ),
    )

    max_quarantined_share: float = number(
        0.5,
        0,
        1,
        (
            "Greatest share of a day's videos that may be quarantined. With more, a check stops "
            "the day and leaves the filtered dataset as it was, so that a source that is broken "
            "or not mounted does not become an empty dataset. Where ten or fewer are quarantined, "
            "only those count that are missing or cannot be read."
        ),
    )
    retention_days: float | None = number(
        7,
        1,
        3650,
        (
            "How long files stay that are no longer, or not yet, in a table: partitions that were "
            "replaced, for whoever still reads them, and parts of runs that were interrupted. Runs "
            "delete older ones. A run that finishes no part for half as long fails and begins "
            "anew. In days; null: for ever."
        ),
    )

    @field_validator("root")
    @classmethod
    def _is_addressable(cls, root: str) -> str:
        addressable(root)
        return root

    @contextlib.contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Self]:
        """Keeps the run's days for it until it ends.

        Raises:
            DaysLockedError: Another run worked on one of them for longer than `wait_seconds`.
        """
        run, log = context.run, context.log
        dates = run_dates(run.tags) if run is not None else []
        if run is None or log is None or not dates:
            yield self
            return
        with days_locked(
            addressable(self.root),
            dates,
            f"run {run.run_id[:8]}",
            wait_seconds=self.wait_seconds,
            say=log.info,
        ):
            yield self

    @property
    def video_manifest(self) -> PartitionedTable:
        """One row per video."""
        return self._table("video_manifest", VideoManifest)

    @property
    def sampled_frames(self) -> PartitionedTable:
        """One row per sampled frame; its images are compressed already."""
        return self._table("sampled_frames", SampledFrames, compression="uncompressed")

    @property
    def ocr_boxes(self) -> PartitionedTable:
        """One row per sampled frame, with its text boxes."""
        return self._table("ocr_boxes", OcrBoxes)

    @property
    def filtered_dataset(self) -> PartitionedTable:
        """One row per sample, with its verdict."""
        return self._table("filtered_dataset", FilteredDataset)

    def _table(
        self, name: str, schema: type[dy.Schema], *, compression: ParquetCompression = "zstd"
    ) -> PartitionedTable:
        days = self.retention_days
        retention = dt.timedelta(days) if days is not None else None
        return PartitionedTable(
            self.root, name, schema, compression=compression, retention=retention
        )
