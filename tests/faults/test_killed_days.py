"""A day whose process is killed at any moment, and then run again."""

import datetime as dt
import json
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from typing import Any

import polars as pl
import pytest

from ocr_assets.demo import Line
from ocr_assets.resources.tables import Tables
from ocr_assets.tables.checkpoint import read_notes
from ocr_assets.tables.partitioned import PartitionedTable, PartitionMissingError
from ocr_assets.video.source_file import SETTLED_SECONDS
from tests.clips import text_picture, write_video
from tests.deployment import wait_until
from tests.faults import Fault, Fork, Forks, Outcome
from tests.part_files import part_files
from tests.pipeline import DAY, materialize_day, rows

pytestmark = pytest.mark.slow

KILLS, SEED = 25, 6
CLIPS, FRAMES = 6, 2
SIZE = {"width": 224, "height": 128}
TABLES = ("video_manifest", "sampled_frames", "ocr_boxes", "filtered_dataset")
DATE = dt.date.fromisoformat(DAY)
# Half of what a day takes is to import these.
IMPORTED = ("altair", "av", "cv2", "dagster", "dataframely", "easyocr", "torch")


@dataclass(frozen=True)
class Day:
    """A day of videos, what comes of it undisturbed, and how long that takes."""

    videos: Path
    data: Path
    seconds: float


def run(videos: Path, data: Path) -> None:
    """The day, one video a part; what each asset says of it goes to a file."""
    result = materialize_day(
        videos,
        data,
        frames={"frame_sample_num": FRAMES, "part_max_frames": FRAMES},
        rule={"max_area_ratio": 0.1},
    )
    said = {
        event.asset_key.to_user_string(): {
            name: value.value
            for name, value in event.step_materialization_data.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
    }
    (data / "said.json").write_text(json.dumps(said, default=str))


def begin(forks: Forks, videos: Path, data: Path) -> Fork:
    """A process that has just begun to write."""
    process = forks.start(run, videos, data)
    begun = (data / "video_manifest").exists
    wait_until(begun, "the first table is begun", pause=0.005)
    return process


@pytest.fixture(scope="module")
def forks(shim: Path) -> Iterator[Forks]:
    with Forks(shim, *IMPORTED) as forks:
        yield forks


@pytest.fixture(scope="module")
def day(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Day:
    root = tmp_path_factory.mktemp("killed")
    folder = root / "videos" / DAY
    folder.mkdir(parents=True)
    for number in range(CLIPS):
        text = Line(f"clip {number}", 10, 70, 20 + 4 * number)
        write_video(folder / f"{number}.mp4", [text_picture([text], **SIZE)] * (4 + number))
    (folder / "bad.mp4").write_text("not a video")
    time.sleep(SETTLED_SECONDS + 0.1)
    seconds = 0.0
    for data in ("warm_up", "undisturbed"):
        process = begin(forks, root / "videos", root / data)
        began = time.monotonic()
        assert process.wait() == Outcome()
        seconds = time.monotonic() - began
    return Day(root / "videos", root / "undisturbed", seconds)


def without_times(data: Path, table: str) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in row.items() if name != "milliseconds"}
        for row in rows(data, table)
    ]


def parts(table: PartitionedTable) -> list[Path]:
    """The parts that a killed run has finished: those in the table, or else those noted down."""
    notes = read_notes(table.folder).values()
    unfinished = [Path(table.uri) / part.relative for note in notes for part in note.parts]
    try:
        return unfinished or part_files(table, DATE)
    except PartitionMissingError:
        return []


def detected(data: Path) -> set[tuple[Any, ...]]:
    """Every detection that is on the disk; how long it took tells it from any other."""
    columns = ("video_id", "frame_index", "milliseconds")
    found = [pl.read_parquet(part) for part in parts(Tables(root=str(data)).ocr_boxes)]
    return {row for part in found for row in part.select(columns).iter_rows()}


@pytest.mark.parametrize("kill", range(KILLS))
def test_a_day_killed_at_any_moment_ends_like_one_that_was_not_and_no_part_is_done_again(
    day: Day, forks: Forks, tmp_path: Path, kill: int
) -> None:
    moment = random.Random(f"{SEED} {kill}").random() * day.seconds
    data = tmp_path / "data"
    process = begin(forks, day.videos, data)
    time.sleep(moment)
    os.kill(process.pid, SIGKILL)
    assert process.wait() in (Outcome(signal=SIGKILL), Outcome())
    assert_the_next_run_ends_it(day, forks, data)


@pytest.mark.parametrize(
    ("table", "calls", "at"),
    [
        ("video_manifest", "rename", 1),  # its only part
        ("video_manifest", "link", 2),  # the commit, after the one that creates the table
        ("sampled_frames", "rename", 7),  # a part and its checkpoint, thrice
        ("sampled_frames", "link", 2),
        ("ocr_boxes", "rename", 7),
        ("ocr_boxes", "link", 2),
        ("filtered_dataset", "link", 2),
        ("kept", "rename", 1),
    ],
)
def test_a_day_killed_at_a_commit_step_ends_like_one_that_was_not_and_no_part_is_done_again(
    day: Day,
    forks: Forks,
    tmp_path: Path,
    table: str,
    calls: str,
    at: int,
) -> None:
    data = tmp_path / "data"
    fault = Fault(data / table, "kill", at, calls=(calls,))
    assert forks.run(run, day.videos, data, fault=fault) == Outcome(signal=SIGKILL)
    assert_the_next_run_ends_it(day, forks, data)


def assert_the_next_run_ends_it(day: Day, forks: Forks, data: Path) -> None:
    """Its tables are those of an undisturbed day, and hold the parts that were finished."""
    tables = Tables(root=str(data))
    frames_before = {part.name for part in parts(tables.sampled_frames)}
    frames_committed = (data / "sampled_frames").exists() and is_committed(tables.sampled_frames)
    boxes_before = detected(data)

    assert forks.run(run, day.videos, data) == Outcome()
    for table in TABLES:
        assert without_times(data, table) == without_times(day.data, table), table
    kept = Path("kept") / DAY / "kept.jsonl"
    assert (data / kept).read_text() == (day.data / kept).read_text()
    assert boxes_before <= detected(data)
    said = json.loads((data / "said.json").read_text())
    if frames_committed:
        assert said["sampled_frames"]["videos_reused"] == CLIPS
    else:
        assert frames_before <= {part.name for part in part_files(tables.sampled_frames, DATE)}
    print(f"{len(frames_before)} parts of frames, {len(boxes_before)} frames with boxes were there")


def is_committed(table: PartitionedTable) -> bool:
    try:
        return bool(part_files(table, DATE))
    except PartitionMissingError:
        return False
