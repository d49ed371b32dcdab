"""The file of kept samples and the table it was made with are of the same run."""

import datetime as dt
import shutil
from pathlib import Path
from signal import SIGSTOP

import pytest

from ocr_assets.resources.tables import Tables
from ocr_assets.settings import kept_jsonl
from ocr_assets.tables.schemas import KEEP
from tests.clips import numbered, write_video
from tests.faults import Fault, Forks
from tests.faults.filtering import filter_day
from tests.pipeline import DAY, materialize_day, rows

ALL, NONE = 1.0, 0.0


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of a day with one sample."""
    folder = tmp_path_factory.mktemp("day")
    (folder / "videos" / DAY).mkdir(parents=True)
    write_video(folder / "videos" / DAY / "a.mp4", numbered(3))
    materialize_day(folder / "videos", folder / "data")
    tables = Tables(root=str(folder / "data"))
    boxes = tables.ocr_boxes.scan(dt.date.fromisoformat(DAY)).drop("date").collect()
    with tables.ocr_boxes.replace(dt.date.fromisoformat(DAY)) as writer:
        writer.append(boxes.with_columns(ocr_area_ratio=0.5))
    return folder / "data"


def kept(data: Path) -> tuple[int, int]:
    """How many samples the table keeps, and how many the file."""
    file = data / kept_jsonl(dt.date.fromisoformat(DAY))
    in_table = [row for row in rows(data, "filtered_dataset") if row["verdict"] == KEEP]
    return len(in_table), len(file.read_text().splitlines())


@pytest.mark.parametrize(
    ("call", "matching"),
    [
        pytest.param("link", "*/filtered_dataset/*.json", id="before its commit"),
        pytest.param("unlink", "*/filtered_dataset/*.json#1", id="right after its commit"),
        pytest.param("rename", "*/kept.jsonl", id="right before its file gets its name"),
    ],
)
def test_a_run_that_was_paused_does_not_bring_back_samples_without_saying_so(
    forks: Forks, day: Path, tmp_path: Path, call: str, matching: str
) -> None:
    data = tmp_path / "data"
    shutil.copytree(day, data)
    fault = Fault(data, "stop", calls=(call,), matching=matching)
    paused = forks.start(filter_day, data, ALL, fault=fault)
    assert paused.wait().signal == SIGSTOP
    filter_day(data, NONE)
    assert kept(data) == (0, 0)
    paused.go_on()
    assert "was replaced by another run" in paused.wait().says
    # No file system can compare and rename at once; that it happened is said, at least.
    assert kept(data) == (0, 1 if call == "rename" else 0)
    filter_day(data, NONE)
    assert kept(data) == (0, 0)
