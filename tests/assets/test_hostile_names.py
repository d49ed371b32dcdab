"""File names that are anything but names survive to the output."""

import json
import os
from pathlib import Path

import pytest

from tests.clips import numbered, write_video
from tests.pipeline import DAY, materialize_day, rows

NAMES = [
    b"a name with  spaces .mp4",
    b"'single' \"double\" `back`.mp4",
    b"two\nlines\tand a tab.mp4",
    "\N{GRINNING FACE} \u202egnp.mp4".encode(),
    b"<img src=x onerror=alert(1)>.mp4",
    b"percent %20 and %.mp4",
    b"back\\slash \\xff.mp4",
    b"bytes \xff\xfe.mp4",
    b"bytes \\xff\xfe.mp4",
    b"-n.mp4",
    b"http:a.mp4",
    b"*?[a].mp4",
    b"\x1b[2J\x07.mp4",
]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("names")
    folder = root / "videos" / DAY
    folder.mkdir(parents=True)
    for number, name in enumerate(NAMES):
        clip = write_video(root / "clip.mp4", numbered(2 + number))
        clip.rename(folder / os.fsdecode(name))
    result = materialize_day(root / "videos", root / "data", frames={"frame_sample_num": 1})
    assert result.success
    return root / "videos" / DAY, root / "data"


def test_every_file_is_judged_whatever_its_name(day: tuple[Path, Path]) -> None:
    dataset = rows(day[1], "filtered_dataset")
    assert [row["verdict"] for row in dataset] == ["keep"] * len(NAMES)
    assert len({row["sample_id"] for row in dataset}) == len(NAMES)


def test_the_kept_list_leads_to_every_file(day: tuple[Path, Path]) -> None:
    folder, data = day
    lines = (data / "kept" / DAY / "kept.jsonl").read_text().splitlines()
    found = [json.loads(line)["videos"][0] for line in lines]
    assert sorted(map(os.fsencode, found)) == sorted(os.fsencode(folder) + b"/" + n for n in NAMES)


@pytest.mark.parametrize("table", ["video_manifest", "filtered_dataset"])
def test_tables_hold_the_bytes_of_names_that_are_not_utf8(
    day: tuple[Path, Path], table: str
) -> None:
    folder, data = day
    column = "path" if table == "video_manifest" else "paths"
    found = set()
    for row in rows(data, table):
        path, known = row[column], row["path_bytes"]
        if table == "filtered_dataset":
            (path,), (known,) = path, known
        found.add(path.encode() if known is None else known)
    assert found == {os.fsencode(folder) + b"/" + name for name in NAMES}
