"""Frames that were sampled before are copied, not decoded again."""

import datetime as dt
import shutil
from pathlib import Path
from typing import Any

import pytest

from ocr_assets.assets.sampled_frames import sampled_frames
from ocr_assets.assets.video_manifest import video_manifest
from ocr_assets.resources.tables import Tables
from tests.clips import numbered, write_video
from tests.part_files import part_files
from tests.pipeline import DAY, MUCH_LATER, NEXT_DAY, materialize_day, rows


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    videos = tmp_path / "videos"
    (videos / DAY).mkdir(parents=True)
    for count in (3, 4, 5, 6):
        write_video(videos / DAY / f"{count}.mp4", numbered(count))
    (videos / DAY / "cut.mkv").write_bytes(
        write_video(tmp_path / "whole.mkv", numbered(48)).read_bytes()[:900]
    )
    for day in (NEXT_DAY, MUCH_LATER):
        shutil.copytree(videos / DAY, videos / day)
    write_video(videos / NEXT_DAY / "new.mp4", numbered(7))
    return videos, tmp_path / "data"


def sample(folders: tuple[Path, Path], day: str, **frames: Any) -> dict[str, Any]:
    result = materialize_day(
        *folders, day=day, frames=frames, assets=[video_manifest, sampled_frames]
    )
    (event,) = [
        one
        for one in result.get_asset_materialization_events()
        if one.asset_key == sampled_frames.key
    ]
    return {key: value.value for key, value in event.materialization.metadata.items()}


def without_date(folders: tuple[Path, Path], day: str) -> list[dict[str, Any]]:
    found = rows(folders[1], "sampled_frames", day)
    return [{key: value for key, value in row.items() if key != "date"} for row in found]


def test_the_same_clips_on_another_day_are_not_decoded(folders: tuple[Path, Path]) -> None:
    first = sample(folders, DAY, part_max_frames=2)
    assert (first["videos_reused"], first["videos"] - first["videos_failed"]) == (0, 4)
    second = sample(folders, NEXT_DAY)
    assert (second["videos_reused"], second["videos"]) == (4, first["videos"] + 1)
    before = {(row["video_id"], row["frame_index"]): row for row in without_date(folders, DAY)}
    after = without_date(folders, NEXT_DAY)
    assert len(after) == len(before) + 3
    common = [row for row in after if (row["video_id"], row["frame_index"]) in before]
    assert common == list(before.values())
    assert all(len(row["image_hash"]) == len(row["sampling_key"]) == 32 for row in after)


def test_a_day_that_is_made_again_is_copied_from_itself(folders: tuple[Path, Path]) -> None:
    sample(folders, DAY, reuse_days=0)
    before = without_date(folders, DAY)
    assert sample(folders, DAY, reuse_days=0)["videos_reused"] == 4
    assert without_date(folders, DAY) == before


@pytest.mark.parametrize(
    ("day", "config"),
    [
        (NEXT_DAY, {"frame_sample_num": 2}),
        (NEXT_DAY, {"sample_every_seconds": 0.1}),
        (NEXT_DAY, {"reuse_days": 0}),
        (MUCH_LATER, {}),
    ],
)
def test_another_rule_or_a_day_too_far_away_is_decoded(
    folders: tuple[Path, Path], day: str, config: dict[str, Any]
) -> None:
    sample(folders, DAY)
    assert sample(folders, day, **config)["videos_reused"] == 0


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_a_part_file_that_is_gone_or_torn_means_decoding(
    folders: tuple[Path, Path], damage: Any
) -> None:
    sample(folders, DAY, part_max_frames=2)
    before = without_date(folders, DAY)
    damage(part_files(Tables(root=str(folders[1])).sampled_frames, dt.date.fromisoformat(DAY))[1])
    assert sample(folders, NEXT_DAY, decode_workers=1)["videos_reused"] == 0
    ids = {row["video_id"] for row in before}
    assert [row for row in without_date(folders, NEXT_DAY) if row["video_id"] in ids] == before
