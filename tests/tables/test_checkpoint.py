"""Going on where an interrupted writer of a partition stopped."""

import datetime as dt
import multiprocessing
import os
import signal
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocr_assets.tables.checkpoint import read_notes
from ocr_assets.tables.partitioned import PartitionedTable, PartitionMissingError
from ocr_assets.tables.unit_writer import PartitionConflictError
from tests.part_files import part_files
from tests.tables.test_partitioned import (
    MONDAY,
    TUESDAY,
    Numbers,
    files,
    numbers,
    rows,
    write,
)

KEY = "these frames, this model"
CONFLICT = 3


class StopError(Exception):
    """What interrupts a writer."""


@pytest.fixture
def table(tmp_path: Path) -> PartitionedTable:
    return PartitionedTable(tmp_path / "a folder with ümlauts", "numbers", Numbers)


def interrupted(
    table: PartitionedTable, *parts: int, key: str | None = KEY, date: dt.date = MONDAY
) -> None:
    """Writes parts of one row each, begins another one, and stops."""
    with pytest.raises(StopError), table.replace(date, made_from=key) as writer:
        for number in parts:
            writer.append(rows(number))
            writer.end_part()
        writer.append(rows(999))
        raise StopError


def checkpoints(table: PartitionedTable) -> list[Path]:
    """Those that somebody could go on from."""
    found = read_notes(table.folder)
    return [Path(table.uri) / name for name, note in found.items() if note.key is not None]


def test_the_next_writer_with_the_key_begins_with_the_parts_of_the_interrupted_one(
    table: PartitionedTable,
) -> None:
    interrupted(table, 0, 1)
    assert len(files(table)) == 2
    with table.replace(MONDAY, made_from=KEY) as writer:
        assert (writer.resumed_parts, writer.row_count) == (2, 2)
        writer.append(rows(2, 3))
        assert writer.row_count == 4
    assert numbers(table, MONDAY) == [0, 1, 2, 3]
    assert len(files(table)) == 3
    assert checkpoints(table) == []


def test_after_a_resumed_commit_the_next_writer_begins_anew(table: PartitionedTable) -> None:
    interrupted(table, 0)
    with table.replace(MONDAY, made_from=KEY):
        pass
    with table.replace(MONDAY, made_from=KEY) as writer:
        assert (writer.resumed_parts, writer.row_count) == (0, 0)
        writer.append(rows(7))
    assert numbers(table, MONDAY) == [7]


def test_a_writer_that_was_interrupted_after_its_last_part_needs_no_more_rows(
    table: PartitionedTable,
) -> None:
    interrupted(table, 0, 1)
    with table.replace(MONDAY, made_from=KEY):
        pass
    assert numbers(table, MONDAY) == [0, 1]
    assert len(table.parts(MONDAY)) == 2


@pytest.mark.parametrize("key", ["those frames", "", None])
def test_under_another_key_or_none_a_writer_begins_anew(
    table: PartitionedTable, key: str | None
) -> None:
    interrupted(table, 0, 1)
    with table.replace(MONDAY, made_from=key) as writer:
        assert (writer.resumed_parts, writer.row_count) == (0, 0)
        writer.append(rows(5))
    assert numbers(table, MONDAY) == [5]


def test_without_a_key_nothing_stays(table: PartitionedTable) -> None:
    interrupted(table, 0, 1, key=None)
    assert files(table) == set()
    assert checkpoints(table) == []


def test_an_error_before_the_first_part_leaves_nothing(table: PartitionedTable) -> None:
    interrupted(table)
    assert files(table) == set()
    assert checkpoints(table) == []


def test_a_writer_that_is_not_interrupted_leaves_no_checkpoint(table: PartitionedTable) -> None:
    with table.replace(MONDAY, made_from=KEY) as writer:
        writer.append(rows(0))
        writer.end_part()
        assert len(checkpoints(table)) == 1
    assert checkpoints(table) == []
    with table.replace(TUESDAY, made_from=KEY):
        pass
    assert checkpoints(table) == []
    assert (numbers(table, MONDAY), numbers(table, TUESDAY)) == ([0], [])


def test_each_day_has_its_own_checkpoint(table: PartitionedTable) -> None:
    interrupted(table, 0, date=MONDAY)
    interrupted(table, 10, 11, date=TUESDAY)
    with table.replace(MONDAY, made_from=KEY) as writer:
        assert writer.resumed_parts == 1
    with table.replace(TUESDAY, made_from=KEY) as writer:
        assert writer.resumed_parts == 2
    assert (numbers(table, MONDAY), numbers(table, TUESDAY)) == ([0], [10, 11])


def test_of_several_checkpoints_the_one_that_got_furthest_is_taken(
    table: PartitionedTable,
) -> None:
    with pytest.raises(StopError), table.replace(MONDAY, made_from=KEY) as first:
        interrupted(table, 0, 1, 2)
        first.append(rows(0))
        first.end_part()
        raise StopError
    assert len(checkpoints(table)) == 2
    with table.replace(MONDAY, made_from=KEY) as writer:
        assert writer.resumed_parts == 3
    assert numbers(table, MONDAY) == [0, 1, 2]
    assert checkpoints(table) == []


def test_readers_never_see_unfinished_parts(tmp_path: Path) -> None:
    table = PartitionedTable(tmp_path, "numbers", Numbers)
    interrupted(table, 0, 1)
    with pytest.raises(PartitionMissingError):
        table.scan(MONDAY)
    assert pl.scan_delta(table.uri).collect().height == 0
    write(table, MONDAY, 8, 9)
    with table.replace(MONDAY, made_from=KEY) as writer:
        assert writer.resumed_parts == 2
        writer.append(rows(2))
        writer.end_part()
        assert numbers(table, MONDAY) == [8, 9]
        assert sorted(pl.scan_delta(table.uri).collect()["number"]) == [8, 9]
    assert numbers(table, MONDAY) == [0, 1, 2]
    assert sorted(pl.scan_delta(table.uri).collect()["number"]) == [0, 1, 2]


def test_a_checkpoint_whose_part_is_missing_is_passed_over(table: PartitionedTable) -> None:
    interrupted(table, 0, 1, 2)
    sorted(files(table))[1].unlink()
    with table.replace(MONDAY, made_from=KEY) as writer:
        assert (writer.resumed_parts, writer.row_count) == (0, 0)
        writer.append(rows(5))
    assert numbers(table, MONDAY) == [5]
    assert checkpoints(table) == []


def test_a_table_that_was_moved_is_still_resumed(table: PartitionedTable, tmp_path: Path) -> None:
    interrupted(table, 0, 1)
    Path(table.uri).parent.rename(tmp_path / "elsewhere")
    moved = PartitionedTable(tmp_path / "elsewhere", "numbers", Numbers)
    with moved.replace(MONDAY, made_from=KEY) as writer:
        writer.append(rows(2))
    assert numbers(moved, MONDAY) == [0, 1, 2]


@settings(max_examples=20)
@given(
    parts=st.lists(st.integers(1, 3), max_size=6),
    stops=st.lists(st.integers(0, 6), max_size=3),
)
def test_however_often_it_is_interrupted_every_row_is_there_once_and_in_order(
    parts: list[int], stops: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        table = PartitionedTable(folder, "numbers", Numbers)
        for stop in [*stops, None]:
            try:
                with table.replace(MONDAY, made_from=KEY) as writer:
                    written = writer.row_count
                    assert written == sum(parts[: writer.resumed_parts])
                    for number, size in list(enumerate(parts))[writer.resumed_parts :]:
                        if number == stop:
                            raise StopError
                        writer.append(rows(*range(written, written + size)))
                        writer.end_part()
                        written += size
                    if stop is not None:
                        raise StopError
            except StopError:
                pass
        assert numbers(table, MONDAY) == list(range(sum(parts)))
        assert checkpoints(table) == []
        assert len(files(table)) == max(len(parts), 1)


def _killed_after_its_second_part(root: Path) -> None:
    table = PartitionedTable(root, "numbers", Numbers)
    with table.replace(MONDAY, made_from=KEY) as writer:
        for number in range(2):
            writer.append(rows(number))
            writer.end_part()
        writer.append(rows(2))
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_is_resumed_by_another(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=_killed_after_its_second_part, args=(tmp_path,)
    )
    process.start()
    process.join(timeout=60)
    assert process.exitcode == -signal.SIGKILL
    table = PartitionedTable(tmp_path, "numbers", Numbers)
    with table.replace(MONDAY, made_from=KEY) as writer:
        assert (writer.resumed_parts, writer.row_count) == (2, 2)
        writer.append(rows(2, 3))
    assert numbers(table, MONDAY) == [0, 1, 2, 3]
    assert checkpoints(table) == []


def test_of_two_writers_with_one_key_the_slower_is_refused_and_the_table_is_whole(
    table: PartitionedTable,
) -> None:
    with (
        pytest.raises(PartitionConflictError, match="was replaced by another run"),
        table.replace(MONDAY, made_from=KEY) as slow,
    ):
        slow.append(rows(0))
        slow.end_part()
        with table.replace(MONDAY, made_from=KEY) as fast:
            assert fast.resumed_parts == 1  # those of the one that is still at work
            fast.append(rows(1))
        slow.append(rows(1))
    assert numbers(table, MONDAY) == [0, 1]
    # What the slower one wrote stays: another may have resumed from it meanwhile.
    assert files(table) > set(part_files(table, MONDAY))


def test_of_two_writers_with_one_key_the_faster_may_stop_without_harm_to_the_slower(
    table: PartitionedTable,
) -> None:
    with table.replace(MONDAY, made_from=KEY) as slow:
        slow.append(rows(0))
        slow.end_part()
        with pytest.raises(StopError), table.replace(MONDAY, made_from=KEY) as fast:
            fast.append(rows(1))
            fast.end_part()
            raise StopError
        slow.append(rows(1))
    assert numbers(table, MONDAY) == [0, 1]


def _one_of_two(root: Path, own: int, start: "multiprocessing.synchronize.Barrier") -> None:
    table = PartitionedTable(root, "numbers", Numbers)
    try:
        with table.replace(MONDAY, made_from=KEY) as writer:
            assert writer.resumed_parts == 2
            start.wait(timeout=60)
            writer.append(rows(own))
    except PartitionConflictError:
        raise SystemExit(CONFLICT) from None


def test_of_two_processes_with_one_key_exactly_one_commits(tmp_path: Path) -> None:
    table = PartitionedTable(tmp_path, "numbers", Numbers)
    interrupted(table, 0, 1)
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    processes = [
        context.Process(target=_one_of_two, args=(tmp_path, own, start)) for own in (10, 11)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    codes = [process.exitcode for process in processes]
    assert sorted(codes, key=str) == [0, CONFLICT]
    assert numbers(table, MONDAY) == [0, 1, 10 + codes.index(0)]
    assert files(table) > set(part_files(table, MONDAY))


def test_a_checkpoint_whose_parts_were_committed_is_not_resumed_from(
    table: PartitionedTable,
) -> None:
    interrupted(table, 0, 1)
    (left,) = checkpoints(table)
    text = left.read_text()
    with table.replace(MONDAY, made_from=KEY):
        pass
    left.write_text(text)  # as if the writer had died right after its commit
    with table.replace(MONDAY, made_from=KEY) as writer:
        assert writer.resumed_parts == 0
        writer.append(rows(7))
    assert numbers(table, MONDAY) == [7]
    assert checkpoints(table) == []


def test_a_refused_writer_leaves_its_parts_to_the_one_that_resumed_from_them(
    table: PartitionedTable,
) -> None:
    late = table.replace(MONDAY, made_from=KEY).__enter__()
    late.append(rows(0))
    late.end_part()
    with table.replace(MONDAY, made_from="other frames") as other:
        other.append(rows(5))
    with table.replace(MONDAY, made_from=KEY) as writer:
        assert writer.resumed_parts == 1
        with pytest.raises(PartitionConflictError):
            late.__exit__(None, None, None)
        writer.append(rows(1))
    assert numbers(table, MONDAY) == [0, 1]
