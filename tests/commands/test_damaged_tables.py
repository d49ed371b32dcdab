"""Tables that cannot be read, and a disk that is full, as the command tells of them."""

import datetime as dt
import os
import subprocess
import sys
from collections.abc import Callable
from errno import ENOSPC
from pathlib import Path

import pytest

from ocr_assets.cli import main
from ocr_assets.coverage import FilterRule
from ocr_assets.resources.tables import Tables
from ocr_assets.runs import RunFailedError, refilter_day
from ocr_assets.tables.partitioned import PartitionedTable
from tests.faults import Fault, build
from tests.part_files import part_files
from tests.pipeline import DAY
from tests.written_day import covering, write_day

DATE = dt.date.fromisoformat(DAY)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A day that was filtered."""
    folder = tmp_path / "data"
    write_day(folder, DATE, {f"{name}.mp4": [[[covering(0.1)]]] for name in "abc"})
    refilter_day(folder, DATE, FilterRule(), quiet=True)
    return folder


def truncate_a_part(table: PartitionedTable) -> Path:
    (part,) = part_files(table, DATE)
    part.write_bytes(part.read_bytes()[:500])
    return part


def remove_a_part(table: PartitionedTable) -> Path:
    (part,) = part_files(table, DATE)
    part.unlink()
    return part


def spoil_the_log(table: PartitionedTable) -> Path:
    log = Path(table.uri) / "_delta_log"
    (log / f"{0:020}.json").write_text("garbage")
    return log


EXPLORE = ["explore"]
CSV, JSONL, PARQUET = (
    ["export", "--out", "out", "--format", form] for form in ("csv", "jsonl", "parquet")
)
SHARDS = ["export", "--out", "out", "--format", "webdataset"]


@pytest.mark.parametrize("damage", [truncate_a_part, remove_a_part, spoil_the_log])
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (EXPLORE, "video_manifest"),
        (EXPLORE, "ocr_boxes"),
        (EXPLORE, "filtered_dataset"),
        ([*EXPLORE, "--date", DAY, "--apply"], "ocr_boxes"),
        *((export, "filtered_dataset") for export in (CSV, JSONL, PARQUET, SHARDS)),
        ([*CSV, "--link", "videos"], "filtered_dataset"),
        ([*CSV, "--link", "videos"], "video_manifest"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_a_table_that_cannot_be_read_is_told_of_in_a_line(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    damage: Callable[[PartitionedTable], Path],
    arguments: list[str],
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    table: PartitionedTable = getattr(Tables(root=str(data)), name)
    path = damage(table)
    capfd.readouterr()
    assert main([*arguments, "--data", str(data)]) == 1
    printed = capfd.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    if path.is_dir():
        assert line.startswith(f"ocr-assets: {name} cannot be read: {path}: ")
        assert line.endswith(f"move it away and materialise all days of {name} again")
    else:
        assert line.startswith(f"ocr-assets: {name} of {DAY} cannot be read: {path}: ")
        assert line.endswith(f"; materialise {name} for {DAY} again")
    assert not (tmp_path / "out").exists()


def test_a_run_that_comes_upon_it_says_the_same(data: Path) -> None:
    spoil_the_log(Tables(root=str(data)).filtered_dataset)
    said = f"filtered_dataset cannot be read: {data}/filtered_dataset/_delta_log: "
    with pytest.raises(RunFailedError, match=f"filtered_dataset failed: {said}"):
        refilter_day(data, DATE, FilterRule(), quiet=True)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_disk_that_is_full_is_not_the_tables_fault(data: Path, tmp_path: Path, form: str) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    fault = Fault(under=folder, action="fail", times=0, error=ENOSPC, calls=("write",))
    command = [sys.executable, "-m", "ocr_assets.cli", "export", "--data", str(data)]
    done = subprocess.run(
        [*command, "--format", form, "--out", str(folder / "out")],
        env=os.environ | fault.environment | {"LD_PRELOAD": str(build(tmp_path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"ocr-assets: [Errno {ENOSPC}] No space left on device")
    assert list(folder.iterdir()) == []
