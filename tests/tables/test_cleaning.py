"""What is deleted from a table's folder, and what never is."""

import datetime as dt
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from ocr_assets.tables import checkpoint, delta_log
from ocr_assets.tables.checkpoint import WriterTooLateError
from ocr_assets.tables.partition_writer import PartitionWriter
from ocr_assets.tables.partitioned import PartitionedTable, PartitionMissingError
from ocr_assets.tables.replace_file import FORGOTTEN_SECONDS, replace_file
from tests.part_files import part_files
from tests.tables.test_partitioned import MONDAY, TUESDAY, Numbers, files, numbers, rows, write

DAY_SECONDS = 86_400
RETENTION = dt.timedelta(days=7)


@pytest.fixture
def table(tmp_path: Path) -> PartitionedTable:
    return PartitionedTable(tmp_path, "numbers", Numbers, retention=RETENTION)


def pass_days(table: PartitionedTable, days: float) -> None:
    """Everything in the table's folder becomes older by so many days."""
    for path in [path for path in Path(table.uri).rglob("*") if path.is_file()]:
        then = path.stat().st_mtime - days * DAY_SECONDS
        os.utime(path, (then, then))


def abandoned(table: PartitionedTable, key: str | None, *parts: int) -> PartitionWriter:
    """A writer whose process was killed after these parts."""
    writer = table.replace(MONDAY, made_from=key).__enter__()
    for part in parts:
        writer.append(rows(part))
        writer.end_part()
    return writer


def notes(table: PartitionedTable) -> list[Path]:
    return list((Path(table.uri) / checkpoint.FOLDER).iterdir())


@pytest.mark.parametrize("key", ["these frames", None])
def test_what_a_killed_writer_left_goes_when_it_is_old_whichever_day_is_written_next(
    table: PartitionedTable, key: str | None
) -> None:
    abandoned(table, key, 1, 2)
    torn = Path(table.uri) / "date=2026-01-05" / f".{next(iter(files(table))).name}.0123"
    torn.touch()
    pass_days(table, 6.9)
    write(table, TUESDAY, 3)
    assert len(files(table)) == 3
    pass_days(table, 0.2)
    write(table, TUESDAY, 4)
    assert not list((Path(table.uri) / "date=2026-01-05").iterdir())
    assert [note for note in notes(table) if "2026-01-05" in note.name] == []
    with pytest.raises(PartitionMissingError):
        table.scan(MONDAY)


def test_what_was_replaced_can_be_read_for_as_long_as_it_is_kept_after_that(
    table: PartitionedTable,
) -> None:
    write(table, MONDAY, 1)
    pass_days(table, 30)
    reader = table.scan(MONDAY)
    write(table, MONDAY, 2)
    pass_days(table, 6.9)
    write(table, TUESDAY, 3)
    assert reader.collect()["number"].to_list() == [1]
    pass_days(table, 0.2)
    write(table, TUESDAY, 4)
    assert len(files(table)) == 3  # Monday's, Tuesday's, and Tuesday's before
    assert (numbers(table, MONDAY), numbers(table, TUESDAY)) == ([2], [4])


def test_a_writer_that_takes_longer_than_anything_is_kept_loses_none_of_its_parts(
    table: PartitionedTable,
) -> None:
    with table.replace(MONDAY, made_from="these frames") as slow:
        for number in range(5):
            slow.append(rows(number))
            slow.end_part()
            pass_days(table, 3)
            write(table, TUESDAY, number)
    assert numbers(table, MONDAY) == [0, 1, 2, 3, 4]


def test_a_writer_that_finished_no_part_for_half_of_that_time_does_not_commit(
    tmp_path: Path,
) -> None:
    table = PartitionedTable(tmp_path, "numbers", Numbers, retention=dt.timedelta(seconds=2))
    write(table, MONDAY, 0)
    paused = abandoned(table, "these frames", 1, 2)
    time.sleep(1)
    with pytest.raises(WriterTooLateError, match=r"was finished for 0\.0 days"):
        paused.__exit__(None, None, None)
    assert numbers(table, MONDAY) == [0]


def test_parts_that_were_resumed_from_stay_though_the_first_writer_is_long_gone(
    table: PartitionedTable,
) -> None:
    abandoned(table, "these frames", 1, 2)
    pass_days(table, 3)
    with table.replace(MONDAY, made_from="these frames") as writer:
        assert writer.resumed_parts == 2
        pass_days(table, 0)
        old = min(notes(table), key=lambda path: path.stat().st_mtime)
        os.utime(old, (0, 0))
        write(table, TUESDAY, 9)
        writer.append(rows(3))
    assert numbers(table, MONDAY) == [1, 2, 3]


def test_parts_that_may_be_deleted_any_moment_are_not_resumed_from(
    table: PartitionedTable,
) -> None:
    abandoned(table, "these frames", 1, 2)
    pass_days(table, 3.6)
    with table.replace(MONDAY, made_from="these frames") as writer:
        assert writer.resumed_parts == 0
    assert numbers(table, MONDAY) == []


def test_without_a_retention_nothing_is_ever_deleted(tmp_path: Path) -> None:
    table = PartitionedTable(tmp_path, "numbers", Numbers, retention=None)
    abandoned(table, "these frames", 1)
    write(table, MONDAY, 2)
    write(table, MONDAY, 3)
    pass_days(table, 4000)
    write(table, TUESDAY, 4)
    assert len(files(table)) == 4
    with table.replace(MONDAY, made_from="these frames") as writer:
        assert writer.resumed_parts == 1


def test_temporary_files_of_killed_processes_go_when_they_are_old(table: PartitionedTable) -> None:
    write(table, MONDAY, 1)
    left = [
        Path(table.uri) / delta_log.FOLDER / "00000000000000000002.json#1",
        Path(table.uri) / checkpoint.FOLDER / ".date=2026-01-05-0123.json.4567",
    ]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    write(table, TUESDAY, 2)
    assert all(path.exists() for path in left)
    pass_days(table, 8)
    write(table, TUESDAY, 3)
    assert not any(path.exists() for path in left)
    assert DeltaTable(table.uri).version() == 3


def test_a_temporary_file_goes_with_the_next_one_of_its_name_when_it_is_a_week_old(
    tmp_path: Path,
) -> None:
    path = tmp_path / "kept.jsonl"
    young, old = (tmp_path / f".kept.jsonl.{name}" for name in ("young", "old"))
    for left in (young, old):
        left.touch()
    then = time.time() - FORGOTTEN_SECONDS
    os.utime(old, (then, then))
    with replace_file(path) as file:
        file.write("kept")
    assert {*tmp_path.iterdir()} == {path, young}


STEPS = st.sampled_from(["commit", "commit with a key", "stop", "stop with a key", "wait"])


@settings(max_examples=20)
@given(steps=st.lists(st.tuples(STEPS, st.sampled_from([MONDAY, TUESDAY])), max_size=12))
def test_whatever_happens_readers_of_the_last_commit_see_its_rows_and_in_the_end_no_more_is_there(
    steps: list[tuple[str, dt.date]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        table = PartitionedTable(folder, "numbers", Numbers, retention=RETENTION)
        expected: dict[dt.date, list[int]] = {}
        left: list[Any] = []
        for number, (step, date) in enumerate(steps):
            key = "key" if "key" in step else None
            if step == "wait":
                pass_days(table, 3)
                continue
            writer = table.replace(date, made_from=key).__enter__()
            writer.append(rows(number))
            writer.end_part()
            if step.startswith("stop"):
                left.append(writer)
            else:
                writer.__exit__(None, None, None)
                expected[date] = numbers(table, date)
                assert len(expected[date]) == writer.resumed_parts + 1
                assert expected[date][-1] == number
            for day, wanted in expected.items():
                assert numbers(table, day) == wanted
        for day in (MONDAY, TUESDAY):
            write(table, day, 100)
        pass_days(table, 8)
        with pytest.raises(KeyboardInterrupt), table.replace(MONDAY):
            raise KeyboardInterrupt
        assert (numbers(table, MONDAY), numbers(table, TUESDAY)) == ([100], [100])
        assert files(table) == {*part_files(table, MONDAY), *part_files(table, TUESDAY)}
        assert notes(table) == []
