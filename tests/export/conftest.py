"""Three days that were filtered: one of files, one of a JSONL's samples, and one without any."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from ocr_assets.demo import Line
from tests.clips import numbered, text_picture, write_video
from tests.pipeline import DAY, NEXT_DAY, materialize_day

EMPTY_DAY = "2026-02-02"
SIZE = {"width": 320, "height": 192}
KEPT_NAMES = [
    b"-n.mp4",
    b"=1+1.mp4",
    b"bytes \xff.mp4",
    b"deep/er/clean.mp4",
    b'deep/q"uo,te;\r\n\x1b[2J.mp4',
]


@dataclass(frozen=True)
class Filtered:
    """Folders: the source, and its tables."""

    videos: Path
    data: Path

    def video(self, name: str | bytes) -> Path:
        """A file of the source."""
        return self.videos / os.fsdecode(name)

    def kept_lines(self, day: str) -> str:
        """What the run itself has written."""
        return (self.data / "kept" / day / "kept.jsonl").read_text()


@pytest.fixture(scope="session")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> Filtered:
    root = tmp_path_factory.mktemp("100% filtered") / "videos"
    data = tmp_path_factory.mktemp("tables")
    day, clips = root / DAY, root / "clips"
    text = text_picture([Line("A slide of text", 5, y, 40) for y in (30, 80, 130)], **SIZE)
    for number, name in enumerate(KEPT_NAMES):
        path = day / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        clip = write_video(root / "clip.mp4", numbered(2 + number))
        clip.rename(path)
    write_video(day / "text.mp4", [text] * 3)
    (day / "bad.mp4").write_text("not a video")

    for folder in ("a", "b", "c"):
        (clips / folder).mkdir(parents=True)
    write_video(clips / "a" / "x.mp4", numbered(20))
    write_video(clips / "b" / "x.mp4", numbered(21))
    (clips / "c" / "x.mp4").write_bytes((clips / "a" / "x.mp4").read_bytes())
    write_video(clips / "text.mkv", [text] * 3)
    samples = [
        {"videos": ["clips/a/x.mp4", "clips/b/x.mp4"], "text": "ä \N{GRINNING FACE}"},
        {"videos": ["clips/c/x.mp4", "clips/missing.mp4"], "__dj__meta__": {"language": "en"}},
        {"text": "no videos"},
        {"videos": ["clips/text.mkv"], "__dj__meta__": {"language": "en"}},
        {"videos": "clips/a/x.mp4"},
    ]
    (root / f"{NEXT_DAY}.jsonl").write_text("\n".join(map(json.dumps, samples)))
    (root / EMPTY_DAY).mkdir()
    for name in (DAY, NEXT_DAY, EMPTY_DAY):
        materialize_day(
            root, data, day=name, frames={"frame_sample_num": 1}, rule={"max_area_ratio": 0.2}
        )
    return Filtered(root, data)
