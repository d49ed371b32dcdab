"""A decoder that never returns and one that eats memory cost their video alone."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocr_assets.assets.filtered_dataset import filtered_dataset
from ocr_assets.assets.ocr_boxes import ocr_boxes
from ocr_assets.assets.sampled_frames import sampled_frames
from ocr_assets.assets.video_manifest import video_manifest
from ocr_assets.resources.decoder import VideoDecoder
from tests.clips import numbered, write_video
from tests.faults import Fault
from tests.pipeline import DAY, materialize_day, rows

SECONDS = 3
MEMORY_BYTES = 128 * 2**20

PROGRAM = f"""
import sys
from pathlib import Path
from ocr_assets.resources.decoder import VideoDecoder
from tests.pipeline import materialize_day
decoder = VideoDecoder(max_seconds={SECONDS}, max_memory_bytes={MEMORY_BYTES})
materialize_day(Path(sys.argv[1]), Path(sys.argv[2]), decoder=decoder)
"""


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    videos = tmp_path / "videos"
    (videos / DAY).mkdir(parents=True)
    for count in range(2, 8):
        write_video(videos / DAY / f"{count}.mp4", numbered(count))
    return videos, tmp_path / "data"


def outcomes(data: Path) -> dict[str, str]:
    return {
        row["sample_id"].removeprefix(f"{DAY}/"): row["reason_code"]
        for row in rows(data, "filtered_dataset")
    }


def test_a_decoder_that_hangs_and_one_that_eats_memory_are_ended_and_the_others_go_on(
    folders: tuple[Path, Path], shim: Path
) -> None:
    videos, data = folders
    write_video(videos / DAY / "3_never_returns.mp4", numbered(3))
    pictures = numbered(2, 7680, 4320)
    write_video(videos / DAY / "5_eats.mkv", pictures, codec="ffv1", pix_fmt="yuv444p")
    hang = Fault(videos, "hang", calls=("open",), matching="*/3_never_returns.mp4")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(videos), str(data)],
        env=os.environ | hang.environment | {"LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    assert outcomes(data) == {
        "2.mp4": "ok",
        "3.mp4": "ok",
        "3_never_returns.mp4": "timeout",
        "4.mp4": "ok",
        "5.mp4": "ok",
        "5_eats.mkv": "out_of_memory",
        "6.mp4": "ok",
        "7.mp4": "ok",
    }
    reasons = {row["reason_code"]: row["reason"] for row in rows(data, "filtered_dataset")}
    assert reasons["timeout"] == f"decoding took longer than {SECONDS} s"
    assert reasons["out_of_memory"] == ("the decoder needed more memory than it may have (0.1 GiB)")


@pytest.fixture
def pipe(folders: tuple[Path, Path]) -> Iterator[Path]:
    """A video that becomes a pipe after the manifest was made; opening it waits for ever."""
    videos, data = folders
    path = videos / DAY / "4.mp4"
    materialize_day(videos, data, assets=[video_manifest])
    path.unlink()
    os.mkfifo(path)
    yield path
    path.unlink()


def test_a_file_that_hangs_after_the_manifest_is_quarantined_and_the_others_are_sampled(
    folders: tuple[Path, Path], pipe: Path
) -> None:
    videos, data = folders
    assets = [sampled_frames, ocr_boxes, filtered_dataset]
    materialize_day(videos, data, assets=assets, decoder=VideoDecoder(max_seconds=SECONDS))
    found = outcomes(data)
    assert found.pop(pipe.name) == "timeout"
    assert set(found.values()) == {"ok"}
