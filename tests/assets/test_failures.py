"""What goes wrong between the assets, and what does not go on then."""

import datetime as dt
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ocr_assets.assets.filtered_dataset import FilteredDatasetConfig, filtered_dataset
from ocr_assets.assets.ocr_boxes import ocr_boxes
from ocr_assets.assets.sampled_frames import SampledFramesConfig, sampled_frames
from ocr_assets.assets.video_manifest import video_manifest
from ocr_assets.resources.compute import ComputeResource
from ocr_assets.resources.decoder import VideoDecoder
from ocr_assets.resources.easyocr import EasyOCRResource
from ocr_assets.resources.tables import Tables
from ocr_assets.resources.video_source import VideoSource
from ocr_assets.tables.partitioned import PartitionMissingError
from tests.clips import numbered, write_video
from tests.pipeline import DAY, materialize_day, rows


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    videos = tmp_path / "videos"
    (videos / DAY).mkdir(parents=True)
    return videos, tmp_path / "data"


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    error = event.step_failure_data.error
    assert error is not None
    return str(error.cause.message if error.cause else error.message)


def test_a_file_that_goes_away_after_the_manifest_is_quarantined(
    folders: tuple[Path, Path],
) -> None:
    videos, data = folders
    gone = write_video(videos / DAY / "gone.mp4", numbered(3))
    write_video(videos / DAY / "stays.mp4", numbered(4))
    materialize_day(videos, data, assets=[video_manifest])
    gone.unlink()
    materialize_day(videos, data, assets=[sampled_frames, ocr_boxes, filtered_dataset])
    first, second = rows(data, "filtered_dataset")
    assert (first["verdict"], second["verdict"]) == ("quarantine", "keep")
    assert "No such file or directory" in first["reason"]


def test_a_frame_that_the_detector_cannot_process_is_quarantined(
    folders: tuple[Path, Path],
) -> None:
    import numpy as np

    videos, data = folders
    sliver = [np.zeros((4000, 1, 3), np.uint8)] * 2
    write_video(videos / DAY / "sliver.mov", sliver, codec="png", pix_fmt="rgb24")
    materialize_day(videos, data)
    (row,) = rows(data, "filtered_dataset")
    assert row["verdict"] == "quarantine"
    assert row["reason"].startswith("1x4000 pixels leave 0x2560 on a canvas")


def test_boxes_older_than_the_manifest_quarantine_what_they_lack(
    folders: tuple[Path, Path],
) -> None:
    videos, data = folders
    write_video(videos / DAY / "a.mp4", numbered(2))
    materialize_day(videos, data)
    write_video(videos / DAY / "b.mp4", numbered(3))
    materialize_day(videos, data, assets=[video_manifest, filtered_dataset])
    first, second = rows(data, "filtered_dataset")
    assert first["verdict"] == "keep"
    assert second["verdict"] == "quarantine"
    assert "materialise sampled_frames and ocr_boxes again" in second["reason"]


def test_a_day_without_a_folder_fails_and_leaves_no_partition(folders: tuple[Path, Path]) -> None:
    videos, data = folders
    result = materialize_day(videos, data, day="2026-02-01", raise_on_error=False)
    assert not result.success
    assert f"the source {videos} has no 2026-02-01.jsonl or 2026-02-01/" in failure(result)
    with pytest.raises(PartitionMissingError):
        rows(data, "video_manifest", "2026-02-01")


def test_a_day_with_an_empty_folder_is_a_day_without_samples(folders: tuple[Path, Path]) -> None:
    videos, data = folders
    assert materialize_day(videos, data).success
    assert rows(data, "filtered_dataset") == []
    assert (data / "kept" / DAY / "kept.jsonl").read_text() == ""


def test_an_asset_without_its_upstream_partition_says_what_to_do(
    folders: tuple[Path, Path],
) -> None:
    result = materialize_day(*folders, assets=[filtered_dataset], raise_on_error=False)
    assert f"ocr_boxes has no partition {DAY}; materialise ocr_boxes" in failure(result)


@pytest.mark.parametrize(
    ("layout", "found"),
    [
        ("auto", "2026-01-31/a.mp4"),
        ("day_folder", "2026-01-31/a.mp4"),
        ("whole_folder", "2026-01-31/a.mp4"),
        ("modified_date", None),
    ],
)
def test_layouts_list_what_they_say(
    folders: tuple[Path, Path], layout: Any, found: str | None
) -> None:
    videos, _ = folders
    (videos / DAY / "a.mp4").touch()
    source = VideoSource(root=str(videos), layout=layout)
    listed = [sample.sample_id for sample in source.samples(dt.date.fromisoformat(DAY))]
    assert listed == ([found] if found else [])


def test_an_asset_can_be_called_like_a_function(folders: tuple[Path, Path]) -> None:
    videos, data = folders
    write_video(videos / DAY / "a.mp4", numbered(48))
    tables = Tables(root=str(data))
    with dg.build_asset_context(
        partition_key=DAY,
        resources={
            "video_source": VideoSource(root=str(videos)),
            "compute": ComputeResource(),
            "decoder": VideoDecoder(),
            "tables": tables,
        },
    ) as context:
        manifest = video_manifest(context)
    with dg.build_asset_context(
        partition_key=DAY,
        resources={
            "video_source": VideoSource(),
            "compute": ComputeResource(),
            "decoder": VideoDecoder(),
            "tables": tables,
        },
    ) as context:
        config = SampledFramesConfig(frame_sample_num=5, part_max_frames=2)
        frames = sampled_frames(context, config)
    resources = {
        "compute": ComputeResource(),
        "tables": tables,
        "easyocr": EasyOCRResource(device="cpu"),
    }
    with dg.build_asset_context(partition_key=DAY, resources=resources) as context:
        boxes = ocr_boxes(context)
    assert manifest.metadata["readable"] == 1
    assert boxes.metadata["frames"] == 5
    assert frames.metadata["frames"] == 5
    assert len(tables.sampled_frames.parts(dt.date.fromisoformat(DAY))) == 3


@pytest.mark.parametrize(
    "rule",
    [
        {"min_area_ratio": 0.5, "max_area_ratio": 0.1},
        {"min_area_ratio": -1},
        {"metric": "area"},
        {"any_or_all": "some"},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(rule))):
        FilteredDatasetConfig(**rule)


@pytest.mark.parametrize(
    "config", [{"frame_sample_num": 0}, {"sample_every_seconds": 0}, {"part_max_frames": 0}]
)
def test_sampling_that_makes_no_sense_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(config))):
        SampledFramesConfig(**config)


def test_a_data_folder_that_delta_cannot_address_is_refused() -> None:
    with pytest.raises(ValueError, match="holds a %"):
        Tables(root="/data/50%")
