"""Running the assets as a user's code would."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from ocr_assets.assets.filtered_dataset import filtered_dataset
from ocr_assets.assets.ocr_boxes import ocr_boxes
from ocr_assets.assets.sampled_frames import sampled_frames
from ocr_assets.assets.video_manifest import video_manifest
from ocr_assets.checks import all_checks
from ocr_assets.resources.compute import ComputeResource
from ocr_assets.resources.decoder import VideoDecoder
from ocr_assets.resources.easyocr import EasyOCRResource
from ocr_assets.resources.tables import tables_at
from ocr_assets.resources.video_source import VideoSource
from ocr_assets.settings import Layout

DAY, NEXT_DAY = "2026-01-31", "2026-02-01"
MUCH_LATER = "2026-03-10"  # than what is looked at for reuse by itself
ASSETS: list[dg.AssetsDefinition] = [video_manifest, sampled_frames, ocr_boxes, filtered_dataset]


def materialize_day(
    source: Path | VideoSource,
    data: str | Path,
    *,
    assets: Sequence[dg.AssetsDefinition] = ASSETS,
    day: str = DAY,
    layout: Layout = "auto",
    frames: dict[str, Any] | None = None,
    boxes: dict[str, Any] | None = None,
    rule: dict[str, Any] | None = None,
    manifest: dict[str, Any] | None = None,
    easyocr: EasyOCRResource | None = None,
    decoder: VideoDecoder | None = None,
    compute: ComputeResource | None = None,
    instance: dg.DagsterInstance | None = None,
    checks: bool = True,
    raise_on_error: bool = True,
) -> dg.ExecuteInProcessResult:
    """Materialises assets for a day, with their checks.

    Args:
        source: The video source's root, or the source.
        data: The tables' root, or a URL.
        assets: Which assets; one of another definition takes the place of ours with its name.
        day: The partition.
        layout: The video source's layout.
        frames: Config of sampled_frames.
        boxes: Config of ocr_boxes.
        rule: Config of filtered_dataset.
        manifest: Config of video_manifest.
        easyocr: The detector's resource; by default the real one, on the CPU, in fp32.
        decoder: The decoder's resource.
        compute: Who does the work; by default this process.
        instance: Where the run is recorded; by default an instance of its own.
        checks: Whether with their checks, which runs have in processes of their own.
        raise_on_error: Whether a failing step raises.
    """
    names = {asset.key.to_user_string() for asset in assets}
    config = {
        "video_manifest": manifest or {},
        "sampled_frames": frames or {},
        "ocr_boxes": boxes or {},
        "filtered_dataset": rule or {},
    }
    others = [asset for asset in ASSETS if asset.key.to_user_string() not in names]
    selection: dg.AssetSelection = dg.AssetSelection.assets(*assets).without_checks()
    if checks:
        selection |= dg.AssetSelection.checks_for_assets(*assets)
    return dg.materialize(
        [*assets, *others, *all_checks],
        selection=selection,
        partition_key=day,
        instance=instance,
        resources={
            "video_source": source
            if isinstance(source, VideoSource)
            else VideoSource(root=str(source), layout=layout),
            "compute": compute or ComputeResource(),
            "decoder": decoder or VideoDecoder(),
            "tables": tables_at(data),
            "easyocr": easyocr or EasyOCRResource(device="cpu", precision="exact"),
        },
        run_config={
            "ops": {
                name: {"config": value} for name, value in config.items() if value and name in names
            }
        },
        raise_on_error=raise_on_error,
    )


def rows(data: str | Path, table: str, day: str = DAY) -> list[dict[str, Any]]:
    """A partition of a table under `data`."""
    import datetime as dt

    partitioned = getattr(tables_at(data), table)
    found: list[dict[str, Any]] = partitioned.scan(dt.date.fromisoformat(day)).collect().to_dicts()
    return found
