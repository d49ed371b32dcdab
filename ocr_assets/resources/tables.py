"""Where the tables are kept."""

import dagster as dg
from pydantic import Field, field_validator

from ocr_assets.tables.partitioned import PartitionedTable, addressable
from ocr_assets.tables.schemas import FilteredDataset, OcrBoxes, SampledFrames, VideoManifest


class Tables(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The four Delta tables under one folder."""

    root: str = Field(default="data", min_length=1, description="The folder that holds the tables.")

    @field_validator("root")
    @classmethod
    def _is_addressable(cls, root: str) -> str:
        addressable(root)
        return root

    @property
    def video_manifest(self) -> PartitionedTable:
        """One row per video."""
        return PartitionedTable(self.root, "video_manifest", VideoManifest)

    @property
    def sampled_frames(self) -> PartitionedTable:
        """One row per sampled frame; its images are compressed already."""
        return PartitionedTable(
            self.root, "sampled_frames", SampledFrames, compression="uncompressed"
        )

    @property
    def ocr_boxes(self) -> PartitionedTable:
        """One row per sampled frame, with its text boxes."""
        return PartitionedTable(self.root, "ocr_boxes", OcrBoxes)

    @property
    def filtered_dataset(self) -> PartitionedTable:
        """One row per sample, with its verdict."""
        return PartitionedTable(self.root, "filtered_dataset", FilteredDataset)
