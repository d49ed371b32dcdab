"""What `ocr-assets run` shows while it runs, on a real pseudo-terminal."""

import sys
from pathlib import Path

import pytest

from tests.clips import numbered, text_picture, write_video
from tests.terminal import Terminal

RUN = [sys.executable, "-m", "ocr_assets.cli", "run", "--source", "videos", "--data", "data"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "a.mp4", numbered(3))
    (tmp_path / "videos" / "bad.mp4").write_text("not a video")
    return tmp_path


def test_each_step_has_a_bar_and_what_is_logged_stands_above(folder: Path) -> None:
    with Terminal(RUN, cwd=folder) as terminal:
        assert terminal.read_to_the_end() == 0
    screen = terminal.screen()
    (manifest,) = [n for n, line in enumerate(screen) if "━ 2 samples in " in line]
    steps = [line.split()[0] for line in screen[manifest : manifest + 3]]
    assert steps == ["video_manifest", "sampled_frames", "ocr_boxes"]
    assert "━ 1 of 1 videos in " in screen[manifest + 1]
    assert "━ 3 of 3 frames in " in screen[manifest + 2]
    logged = screen[:manifest]
    assert sum(line.startswith("ocr_boxes         3 frames, ") for line in logged) == 1
    assert sum(line.startswith("filtered_dataset  keep 1") for line in logged) == 1
    assert any("1 kept, 0 dropped, 1 quarantined" in line for line in screen[manifest + 3 :])
    assert terminal.shows_the_cursor()


def test_ctrl_c_leaves_the_terminal_as_it_was(folder: Path) -> None:
    for number in range(10):
        picture = text_picture(width=480 + 8 * number, height=352)
        write_video(folder / "videos" / f"{number}.mp4", [picture] * 3)
    with Terminal(RUN, cwd=folder) as terminal:
        terminal.read_until(" frames, ")  # it detects
        assert not terminal.shows_the_cursor()
        terminal.press_control_c()
        assert terminal.read_to_the_end() == 130
    assert terminal.shows_the_cursor()
    *_, last, after = terminal.screen()
    assert (last, after) == ("ocr-assets: interrupted", "")
