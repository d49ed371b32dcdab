"""File systems that are really full, read-only or closed to the user."""

import contextlib
import datetime as dt
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import numpy as np
import pytest

from ocr_assets.tables.disk_space import NoSpaceError, ensure_space
from tests.clips import numbered, write_video
from tests.faults import Forks
from tests.faults.work import (
    KEY,
    NEW,
    OLD,
    append,
    clean_up,
    committed,
    files,
    numbers,
    table,
    work_as_nobody,
    write,
)
from tests.pipeline import DAY, materialize_day, rows

LEFT_BYTES = 100_000


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"may not mount (try `unshare -Urm pytest`): {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=4m", "ocr_assets_tests", str(folder))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@contextlib.contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Leaves next to nothing free on it."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - LEFT_BYTES))
    yield
    ballast.unlink()


def test_a_day_on_a_full_disk_fails_with_what_to_do_and_what_was_there_stays(
    small_disk: Path, tmp_path: Path
) -> None:
    videos, data = tmp_path / "videos", small_disk / "data"
    (videos / DAY).mkdir(parents=True)
    write_video(videos / DAY / "a.mp4", numbered(3))
    materialize_day(videos, data)
    before = {name: rows(data, name) for name in ("sampled_frames", "ocr_boxes")}
    noise = np.random.default_rng(7).integers(0, 256, (3, 240, 320, 3), np.uint8)
    write_video(videos / DAY / "b.mp4", list(noise))
    with filled(small_disk):
        result = materialize_day(videos, data, raise_on_error=False)
        said = failure(result)
        assert "No space left on device" in said
        assert f"(while {data}/sampled_frames of {DAY} was being written)" in said
        assert "What to do: free some space there, then re-execute the run" in said
        assert {name: rows(data, name) for name in before} == before
    assert materialize_day(videos, data).success
    assert len(rows(data, "ocr_boxes")) == 6


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What the only step that failed says; it was not tried again."""
    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    (event,) = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data.user_failure_data
    assert data is not None
    return str(data.description)


def test_room_on_a_small_disk_is_not_taken_for_that_of_the_one_that_links_to_it(
    small_disk: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(small_disk)
    ensure_space(tmp_path, 100 * 2**20, "an image")
    for folder in (small_disk, tmp_path / "link", tmp_path / "link" / "data"):
        ensure_space(folder, 2**20, "an image")
        with pytest.raises(NoSpaceError, match=r"has 4\.0 MiB free; it takes 96\.0 MiB more"):
            ensure_space(folder, 100 * 2**20, "an image")


def test_a_folder_that_becomes_read_only_half_way_keeps_its_rows_and_the_finished_parts(
    small_disk: Path,
) -> None:
    write(small_disk, None, OLD)
    with (
        pytest.raises(OSError, match="Read-only file system") as caught,
        table(small_disk).replace(dt.date(2026, 1, 5), made_from=KEY) as writer,
    ):
        append(writer, NEW[:1])
        mount("-o", "remount,ro", str(small_disk))
        append(writer, NEW[1:])
    assert caught.value.errno == errno.EROFS
    assert numbers(small_disk) == OLD
    mount("-o", "remount,rw", str(small_disk))
    assert write(small_disk) == 1
    assert numbers(small_disk) == NEW


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can write to, unlike pytest's."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


def test_a_user_who_loses_the_permission_half_way_is_told_so_and_the_rows_stay(
    forks: Forks, open_folder: Path
) -> None:
    outcome = forks.run(work_as_nobody, open_folder)
    assert outcome.error == "PermissionError"
    assert not outcome.is_retried
    assert "Permission denied" in outcome.says
    assert str(open_folder) in outcome.says
    assert "What to do: give the user that runs this the right to write there" in outcome.says
    assert numbers(open_folder) == OLD
    (open_folder / "numbers" / "date=2026-01-05").chmod(0o755)
    assert write(open_folder) == 1
    assert numbers(open_folder) == NEW
    clean_up(open_folder)
    assert files(open_folder) == committed(open_folder)
