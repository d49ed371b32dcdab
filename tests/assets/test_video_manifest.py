"""What is looked at again and what is not, and what a source that is gone does."""

import datetime as dt
import shutil
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ocr_assets.assets.video_manifest import video_manifest
from ocr_assets.resources.decoder import VideoDecoder
from ocr_assets.resources.tables import Tables
from ocr_assets.video.source_file import SETTLED_SECONDS
from tests.clips import numbered, write_video
from tests.part_files import part_files
from tests.pipeline import DAY, materialize_day, rows

PLANTED = "0" * 32


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three clips that nobody touches any more, and their manifest."""
    videos, data = tmp_path / "videos", tmp_path / "data"
    (videos / DAY).mkdir(parents=True)
    for count in (2, 3, 4):
        write_video(videos / DAY / f"{count}.mp4", numbered(count))
    (videos / DAY / "bad.mp4").write_text("not a video")
    time.sleep(SETTLED_SECONDS + 0.1)
    materialize_day(videos, data, assets=[video_manifest])
    return videos, data


def plant(data: Path) -> None:
    """Gives every video of the manifest an id that it has not, which shows where it is taken."""
    (part,) = part_files(Tables(root=str(data)).video_manifest, dt.date.fromisoformat(DAY))
    pl.read_parquet(part).with_columns(video_id=pl.lit(PLANTED)).write_parquet(part)


def taken_over(folders: tuple[Path, Path], **options: Any) -> list[str]:
    """Which rows of the day's manifest are taken over when it is made again."""
    plant(folders[1])
    materialize_day(*folders, assets=[video_manifest], **options)
    found = rows(folders[1], "video_manifest")
    return [Path(row["path"]).name for row in found if row["video_id"] == PLANTED]


def test_files_that_have_not_changed_are_not_read_again(folders: tuple[Path, Path]) -> None:
    before = rows(folders[1], "video_manifest")
    materialize_day(*folders, assets=[video_manifest])
    assert rows(folders[1], "video_manifest") == before
    assert taken_over(folders) == ["2.mp4", "3.mp4", "4.mp4"]


def test_files_that_were_written_or_replaced_or_could_not_be_read_are_read_again(
    folders: tuple[Path, Path],
) -> None:
    videos, _ = folders
    (videos / DAY / "2.mp4").touch()
    shutil.copy2(videos / DAY / "3.mp4", videos / "copy")
    (videos / "copy").replace(videos / DAY / "3.mp4")
    assert taken_over(folders) == ["4.mp4"]


def test_all_files_are_read_again_if_told_so_or_judged_otherwise(
    folders: tuple[Path, Path],
) -> None:
    assert taken_over(folders, manifest={"reuse_unchanged": False}) == []
    assert taken_over(folders, decoder=VideoDecoder(max_frames=3)) == []
    assert [row["status"] for row in rows(folders[1], "video_manifest")] == [
        *("ok", "ok", "too_large", "not_a_video")
    ]


def test_a_file_that_was_just_written_is_read_again(folders: tuple[Path, Path]) -> None:
    videos, data = folders
    write_video(videos / DAY / "5.mp4", numbered(5))
    materialize_day(*folders, assets=[video_manifest])
    states = {Path(row["path"]).name: row["file_state"] for row in rows(data, "video_manifest")}
    assert [name for name, state in states.items() if state is None] == ["5.mp4", "bad.mp4"]


def test_a_source_that_is_not_mounted_does_not_become_an_empty_day(
    folders: tuple[Path, Path],
) -> None:
    videos, data = folders
    before = rows(data, "video_manifest")
    shutil.rmtree(videos)
    videos.mkdir()
    for layout in ("auto", "whole_folder", "modified_date"):
        result = materialize_day(videos, data, layout=layout, raise_on_error=False)
        assert not result.success
    assert rows(data, "video_manifest") == before
    allowed = materialize_day(
        videos,
        data,
        assets=[video_manifest],
        layout="whole_folder",
        manifest={"allow_emptied_day": True},
    )
    assert allowed.success
    assert rows(data, "video_manifest") == []


def test_a_mount_that_breaks_leaves_the_filtered_dataset_as_it_was(tmp_path: Path) -> None:
    videos, data = tmp_path / "videos", tmp_path / "data"
    videos.mkdir()
    clips = [write_video(videos / f"{count}.mp4", numbered(count)) for count in (2, 3, 4)]
    lines = "\n".join(f'{{"videos": ["{clip.name}"]}}' for clip in clips)
    (videos / f"{DAY}.jsonl").write_text(lines)
    materialize_day(videos, data)
    kept = (data / "kept" / DAY / "kept.jsonl").read_text()
    dataset = rows(data, "filtered_dataset")
    clips[0].unlink()
    clips[1].unlink()
    result = materialize_day(videos, data, raise_on_error=False)
    assert not result.success
    (check,) = [one for one in result.get_asset_check_evaluations() if not one.passed]
    assert check.description == (
        "2 of 3 videos are quarantined (2 missing), more than 50%: is the source whole? "
        "max_quarantined_share of the resource tables says how many may be."
    )
    assert rows(data, "filtered_dataset") == dataset
    assert (data / "kept" / DAY / "kept.jsonl").read_text() == kept
