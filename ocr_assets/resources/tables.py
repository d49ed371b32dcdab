"""Where the tables are kept."""

import contextlib
import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import dagster as dg
import dataframely as dy
from pydantic import ConfigDict, Field, PrivateAttr, field_validator

from ocr_assets.config_fields import DAY_SECONDS, number
from ocr_assets.configured import configured
from ocr_assets.object_storage import StorageOptions
from ocr_assets.partitions import run_dates
from ocr_assets.tables.folder import EnsureHeld, Folder, folder_at
from ocr_assets.tables.partitioned import ParquetCompression, PartitionedTable
from ocr_assets.tables.schemas import FilteredDataset, OcrBoxes, SampledFrames, VideoManifest


class Tables(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The four Delta tables under one folder.

    A run has its days in them to itself: a second run of a day waits until the first has ended.
    """

    model_config = ConfigDict(hide_input_in_errors=True)  # storage_options may hold a mistake

    root: str = Field(
        default="data",
        min_length=1,
        description=(
            "The folder that holds the tables, or a place in an object storage: "
            "s3://bucket/prefix, gs://bucket/prefix, az://container/prefix."
        ),
    )
    storage_options: dict[str, str] = Field(
        default={},
        description=(
            "What else has to be known of an object storage, as deltalake takes it: aws_region, "
            "aws_endpoint_url, allow_http, timeout (30s unless set), max_retries (10) and so on. "
            "No keys: those are found in the environment. Of no use for a folder."
        ),
    )
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

    _ensure_held: EnsureHeld | None = PrivateAttr(default=None)

    @field_validator("root")
    @classmethod
    def _is_addressable(cls, root: str) -> str:
        folder_at(root)
        return root

    @field_validator("storage_options")
    @classmethod
    def _make_sense(cls, options: dict[str, str]) -> dict[str, str]:
        StorageOptions.of(options, "tables")
        return options

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
        with self.folder.days_locked(
            dates,
            f"run {run.run_id[:8]}",
            wait_seconds=self.wait_seconds,
            say=log.info,
            warn=log.error,
        ) as ensure_held:
            self._ensure_held = ensure_held
            try:
                yield self
            finally:
                self._ensure_held = None

    @property
    def folder(self) -> Folder:
        """Where the tables are, and what goes with them."""
        return folder_at(self.root, self.storage_options)

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
            self.folder,
            name,
            schema,
            compression=compression,
            retention=retention,
            ensure_held=self._ensure_held,
        )


def tables_at(root: str | Path) -> Tables:
    """Tables at another place than the code location's, with its settings otherwise.

    Raises:
        SettingError: A variable that sets them makes no sense.
        pydantic.ValidationError: Delta cannot address the place.
    """
    return type(configured(Tables, "tables"))(root=str(root))
