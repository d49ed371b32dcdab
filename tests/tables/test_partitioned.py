import datetime as dt
import multiprocessing
from pathlib import Path

import dataframely as dy
import polars as pl
import pytest
from deltalake import DeltaTable

from ocr_assets.tables.partition_writer import PartSize
from ocr_assets.tables.partitioned import PartitionedTable, PartitionMissingError
from ocr_assets.tables.replace_file import replace_file
from ocr_assets.tables.unit_writer import PartitionConflictError

TABLES = 15
MONDAY, TUESDAY = dt.date(2026, 1, 5), dt.date(2026, 1, 6)


class Numbers(dy.Schema):
    """Numbers that are not negative."""

    date = dy.Date()
    number = dy.Int64(min=0)


class NumbersWithNames(dy.Schema):
    """The same in a later version."""

    date = dy.Date()
    number = dy.Int64(min=0)
    name = dy.String(nullable=True)


@pytest.fixture
def table(tmp_path: Path) -> PartitionedTable:
    return PartitionedTable(tmp_path / "a folder with ümlauts", "numbers", Numbers)


def rows(*numbers: int) -> pl.DataFrame:
    return pl.DataFrame({"number": numbers}, schema={"number": pl.Int64})


def write(table: PartitionedTable, date: dt.date, *numbers: int) -> None:
    with table.replace(date) as writer:
        writer.append(rows(*numbers))


def numbers(table: PartitionedTable, date: dt.date) -> list[int]:
    return table.scan(date).collect()["number"].to_list()


def files(table: PartitionedTable) -> set[Path]:
    return set(Path(table.uri).glob("date=*/*.parquet"))


def test_a_partition_is_replaced_and_the_others_stay(table: PartitionedTable) -> None:
    write(table, MONDAY, 1, 2)
    write(table, TUESDAY, 3)
    write(table, MONDAY, 4)
    assert numbers(table, MONDAY) == [4]
    assert numbers(table, TUESDAY) == [3]


def test_a_table_knows_its_days(table: PartitionedTable) -> None:
    assert table.dates() == []
    write(table, TUESDAY)
    write(table, MONDAY, 1)
    assert table.dates() == [MONDAY, TUESDAY]


def test_any_delta_reader_sees_the_same_rows(tmp_path: Path) -> None:
    table = PartitionedTable(tmp_path, "numbers", Numbers)
    write(table, MONDAY, 1, 2)
    write(table, MONDAY, 3)
    found = pl.scan_delta(str(tmp_path / "numbers")).collect()
    assert found.sort("number").rows(named=True) == [{"date": MONDAY, "number": 3}]
    assert found.schema == table.scan(MONDAY).collect_schema()


def test_parts_are_bounded_and_keep_the_order(table: PartitionedTable) -> None:
    with table.replace(MONDAY, PartSize(rows=3)) as writer:
        for number in range(8):
            writer.append(rows(number))
    assert [part.collect().height for part in table.scan_parts(MONDAY)] == [3, 3, 2]
    assert numbers(table, MONDAY) == list(range(8))
    assert writer.row_count == 8


def test_parts_are_bounded_by_their_bytes_too(table: PartitionedTable) -> None:
    with table.replace(MONDAY, PartSize(bytes=20)) as writer:
        for number in range(4):
            writer.append(rows(number))
    assert [part.collect().height for part in table.scan_parts(MONDAY)] == [3, 1]


def test_a_day_with_nothing_differs_from_a_day_never_written(table: PartitionedTable) -> None:
    with table.replace(MONDAY):
        pass
    assert numbers(table, MONDAY) == []
    with pytest.raises(PartitionMissingError, match="materialise numbers for 2026-01-06 first"):
        table.scan(TUESDAY)


def test_an_error_leaves_the_partition_as_it_was_and_no_files(table: PartitionedTable) -> None:
    write(table, MONDAY, 1)
    before = files(table)
    with pytest.raises(RuntimeError, match="stop"), table.replace(MONDAY) as writer:
        writer.append(rows(2))
        writer.end_part()
        assert files(table) > before
        raise RuntimeError("stop")
    assert numbers(table, MONDAY) == [1]
    assert files(table) == before


def test_rows_that_break_the_schema_are_refused(table: PartitionedTable) -> None:
    with pytest.raises(dy.exc.ValidationError):
        write(table, MONDAY, -1)
    with pytest.raises(PartitionMissingError):
        table.scan(MONDAY)
    assert files(table) == set()


@pytest.mark.parametrize("written_before", [False, True])
def test_of_two_writers_of_one_partition_the_second_is_refused(
    table: PartitionedTable, written_before: bool
) -> None:
    if written_before:
        write(table, MONDAY, 0)
    with (
        pytest.raises(PartitionConflictError, match="was replaced by another run"),
        table.replace(MONDAY) as slow,
    ):
        slow.append(rows(1))
        write(table, MONDAY, 2)
    assert numbers(table, MONDAY) == [2]
    write(table, MONDAY, 3)
    assert numbers(table, MONDAY) == [3]


def test_writers_of_different_days_do_not_disturb_each_other(table: PartitionedTable) -> None:
    write(table, MONDAY, 0)
    with table.replace(MONDAY) as monday:
        with table.replace(TUESDAY) as tuesday:
            tuesday.append(rows(2))
        monday.append(rows(1))
    assert (numbers(table, MONDAY), numbers(table, TUESDAY)) == ([1], [2])


def _write_in_process(root: Path, day: int, start: "multiprocessing.synchronize.Barrier") -> None:
    for name in map(str, range(TABLES)):
        start.wait(timeout=60)
        write(PartitionedTable(root, name, Numbers), MONDAY + dt.timedelta(days=day), day)


def test_processes_that_create_and_commit_at_the_same_time_all_succeed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    count = 6
    start = context.Barrier(count)
    processes = [
        context.Process(target=_write_in_process, args=(tmp_path, day, start))
        for day in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
    assert [process.exitcode for process in processes] == [0] * count
    for name in map(str, range(TABLES)):
        table = PartitionedTable(tmp_path, name, Numbers)
        for day in range(count):
            assert numbers(table, MONDAY + dt.timedelta(days=day)) == [day]


def test_history_stays_readable(table: PartitionedTable) -> None:
    write(table, MONDAY, 1)
    version = DeltaTable(table.uri).version()
    write(table, MONDAY, 2)
    old = DeltaTable(table.uri, version=version)
    assert len(old.file_uris()) == 1
    assert len(files(table)) == 2


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "kept.jsonl"
    with replace_file(path) as file:
        file.write("first")
    with pytest.raises(RuntimeError), replace_file(path) as file:
        file.write("second")
        raise RuntimeError
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_the_days_near_a_day_are_read_together(table: PartitionedTable) -> None:
    assert table.scan_near(MONDAY, 3650) is None
    for days in (-3, -2, 0, 1, 3):
        write(table, MONDAY + dt.timedelta(days), days + 3)
    write(table, MONDAY, 9)
    near = table.scan_near(MONDAY, 2)
    assert near is not None
    assert near.select(pl.col("date") - MONDAY, "number").collect().rows() == [
        (dt.timedelta(-2), 1),
        (dt.timedelta(0), 9),
        (dt.timedelta(1), 4),
    ]
    by_distance = [(day - MONDAY).days for day in table.parts_near(MONDAY, 3)]
    assert by_distance == [0, 1, -2, -3, 3]
    assert table.scan_near(MONDAY + dt.timedelta(20), 3) is None
    (tuesday,) = [frame for frame in [table.scan_near(TUESDAY, 0)] if frame is not None]
    assert tuesday.collect().rows() == [(TUESDAY, 4)]


def test_columns_that_a_schema_gains_are_null_in_what_was_written_before(
    tmp_path: Path,
) -> None:
    before = PartitionedTable(tmp_path, "numbers", Numbers)
    after = PartitionedTable(tmp_path, "numbers", NumbersWithNames)
    write(before, MONDAY, 1)
    write(before, TUESDAY, 2)
    assert after.scan(MONDAY).collect()["name"].to_list() == [None]
    with after.replace(TUESDAY) as writer:
        writer.append(pl.DataFrame({"number": [3], "name": ["three"]}))
    expected = [(MONDAY, 1, None), (TUESDAY, 3, "three")]
    near = after.scan_near(MONDAY, 1)
    assert near is not None
    assert near.collect().rows() == expected
    assert pl.scan_delta(after.uri).sort("number").collect().rows() == expected
    assert [part.collect().width for part in after.scan_parts(MONDAY)] == [3]
