"""Memory stays flat as a day grows."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.clips import write_video

ALLOWED_MIB = 300


def make_clips(folder: Path, count: int) -> Path:
    """Small clips, every one of other content."""
    folder.mkdir()
    random = np.random.default_rng(count)
    for number in range(count):
        picture = random.integers(0, 256, (8, 12, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        write_video(folder / f"{number}.mp4", [picture] * 2)
    return folder


def peak_mib(source: Path, data: Path) -> float:
    """Peak resident memory of a run, in MiB."""
    arguments = ["run", "--source", str(source), "--data", str(data), "--frame-sample-num", "1"]
    child = os.spawnv(
        os.P_NOWAIT,
        sys.executable,
        [sys.executable, "-m", "ocr_assets.cli", *arguments, "--json"],
    )
    _, status, usage = os.wait4(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return usage.ru_maxrss / 1024


@pytest.mark.slow
def test_a_day_of_2000_clips_peaks_near_a_day_of_20(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    peaks = {
        count: peak_mib(make_clips(tmp_path / f"clips{count}", count), tmp_path / f"data{count}")
        for count in (20, 2000)
    }
    with capfd.disabled():
        print(f"\npeak memory: {peaks[20]:.0f} MiB for 20 clips, {peaks[2000]:.0f} MiB for 2000")
    assert peaks[2000] - peaks[20] < ALLOWED_MIB
