"""Parts that are written elsewhere, unit of work by unit of work."""

import datetime as dt
import json
import multiprocessing
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from ocr_assets.tables.checkpoint import FOLDER, NOTED_AT_ONCE, Note, read_notes
from ocr_assets.tables.part import Part, PartPlace
from ocr_assets.tables.partition_writer import PartSize
from ocr_assets.tables.partitioned import PartitionedTable, PartitionMissingError
from ocr_assets.tables.unit_writer import PartitionConflictError, UnitWriter
from tests.part_files import part_files
from tests.tables.test_cleaning import pass_days
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


class StopError(Exception):
    """What interrupts a writer."""


@pytest.fixture
def table(tmp_path: Path) -> PartitionedTable:
    return PartitionedTable(tmp_path / "a folder with ümlauts", "numbers", Numbers)


def add(writer: UnitWriter, unit: int, *pieces: list[int]) -> list[Part]:
    parts = [
        writer.place.write(unit, rows(*numbers), piece) for piece, numbers in enumerate(pieces)
    ]
    writer.add_unit(unit, parts)
    return parts


def interrupted(table: PartitionedTable, *units: int) -> None:
    """Finishes these units, writes a part of another one, and stops."""
    with pytest.raises(StopError), table.replace_units(MONDAY, made_from=KEY) as writer:
        for unit in units:
            add(writer, unit, [unit])
        writer.place.write(999, rows(999))
        raise StopError


def notes(table: PartitionedTable) -> list[Note]:
    return [*read_notes(table.folder).values()]


def _unit_of_two(place: PartPlace, unit: int) -> list[Part]:
    return [place.write(unit, rows(10 * unit + piece), piece) for piece in range(2)]


def test_parts_of_other_processes_are_committed_in_the_order_of_their_units(
    table: PartitionedTable,
) -> None:
    context = multiprocessing.get_context("spawn")
    with (
        table.replace_units(MONDAY, made_from=KEY) as writer,
        ProcessPoolExecutor(2, mp_context=context) as pool,
    ):
        units = [3, 0, 2, 1]
        done = pool.map(_unit_of_two, [writer.place] * 4, units)
        for unit, parts in zip(units, done, strict=True):
            writer.add_unit(unit, parts[::-1])
        with pytest.raises(PartitionMissingError):
            table.scan(MONDAY)
    assert numbers(table, MONDAY) == [0, 1, 10, 11, 20, 21, 30, 31]
    assert writer.row_count == 8
    assert table.made_from(MONDAY) == KEY
    assert files(table) == set(part_files(table, MONDAY))


def test_of_two_attempts_at_a_unit_the_one_that_was_added_is_in_the_table(
    table: PartitionedTable,
) -> None:
    with table.replace_units(MONDAY, made_from=KEY) as writer:
        lost = writer.place.write(0, rows(1))
        add(writer, 0, [1])
    assert numbers(table, MONDAY) == [1]
    assert Path(table.uri) / lost.relative in files(table)
    pass_days(table, 8)
    write(table, TUESDAY, 2)
    assert Path(table.uri) / lost.relative not in files(table)
    assert numbers(table, MONDAY) == [1]


def test_the_next_writer_with_the_key_has_all_finished_units_and_no_half_one(
    table: PartitionedTable,
) -> None:
    interrupted(table, 4, 0, 2)
    with table.replace_units(MONDAY, made_from=KEY) as writer:
        assert writer.finished_units == {0, 2, 4}
        assert writer.row_count == 3
        assert writer.resumed("number")["number"].to_list() == [0, 2, 4]
        for unit in {*range(5)} - writer.finished_units:
            add(writer, unit, [unit])
    assert numbers(table, MONDAY) == [0, 1, 2, 3, 4]


def test_a_writer_of_rows_and_one_of_units_do_not_go_on_from_each_other(
    table: PartitionedTable,
) -> None:
    interrupted(table, 0, 2)
    with pytest.raises(StopError), table.replace(MONDAY, PartSize(1), made_from=KEY) as writer:
        assert writer.resumed_parts == 0
        writer.append(rows(7))
        raise StopError
    with table.replace_units(MONDAY, made_from=KEY) as units:
        assert units.finished_units == {0, 2}
    assert numbers(table, MONDAY) == [0, 2]
    with table.replace(MONDAY, made_from=KEY) as writer:
        assert writer.resumed_parts == 1
    assert numbers(table, MONDAY) == [7]


def test_a_unit_may_have_no_rows_and_is_finished_all_the_same(table: PartitionedTable) -> None:
    with pytest.raises(StopError), table.replace_units(MONDAY, made_from=KEY) as writer:
        add(writer, 0)
        raise StopError
    with table.replace_units(MONDAY, made_from=KEY) as writer:
        assert writer.finished_units == {0}
    assert numbers(table, MONDAY) == []
    with table.replace_units(TUESDAY):
        pass
    assert numbers(table, TUESDAY) == []


def test_what_is_not_a_unit_of_the_writer_is_refused(table: PartitionedTable) -> None:
    interrupted(table, 0)
    (foreign,) = notes(table)[0].parts
    with table.replace_units(MONDAY, made_from="other frames") as writer:
        own = writer.place.write(1, rows(1))
        with pytest.raises(ValueError, match="is not a part of unit 0 of this writer"):
            writer.add_unit(0, [foreign])
        with pytest.raises(ValueError, match="is not a part of unit 2 of this writer"):
            writer.add_unit(2, [own])
        with pytest.raises(ValueError, match="has one piece twice"):
            writer.add_unit(1, [own, own])
        with pytest.raises(ValueError, match="-1 is not a number of up to 8 digits"):
            writer.place.write(-1, rows(1))
        writer.add_unit(1, [own])
        with pytest.raises(ValueError, match="unit 1 of numbers 2026-01-05 is there already"):
            writer.add_unit(1, [own])
    assert numbers(table, MONDAY) == [1]


def test_a_part_that_comes_when_the_writer_is_gone_is_seen_by_nobody_and_goes_when_it_is_old(
    table: PartitionedTable,
) -> None:
    with table.replace_units(MONDAY, made_from=KEY) as writer:
        add(writer, 0, [0])
    with pytest.raises(StopError), table.replace_units(MONDAY) as stopped:
        add(stopped, 0, [1])
        raise StopError
    for late in (writer, stopped):
        late._place.write(1, rows(9))
    assert numbers(table, MONDAY) == [0]
    assert len(files(table)) == 3
    pass_days(table, 8)
    write(table, TUESDAY, 2)
    assert files(table) == {*part_files(table, MONDAY), *part_files(table, TUESDAY)}


def test_a_note_of_an_earlier_version_is_not_gone_on_from_and_its_parts_go_when_they_are_old(
    table: PartitionedTable,
) -> None:
    interrupted(table, 0, 1)
    (path,) = (Path(table.uri) / FOLDER).glob("*.json")
    parts = [(part.relative, part.rows) for part in notes(table)[0].parts]
    path.write_text(json.dumps({"key": f"rows of {KEY}", "parts": parts, "left_over": []}))
    with table.replace(MONDAY, made_from=KEY) as writer:
        assert writer.resumed_parts == 0
        writer.append(rows(5))
    assert numbers(table, MONDAY) == [5]
    pass_days(table, 8)
    write(table, TUESDAY, 2)
    assert files(table) == {*part_files(table, MONDAY), *part_files(table, TUESDAY)}


def test_of_two_writers_of_one_empty_partition_one_commits(table: PartitionedTable) -> None:
    with (
        pytest.raises(PartitionConflictError),
        table.replace_units(MONDAY, made_from=KEY) as slow,
    ):
        add(slow, 0, [0])
        with table.replace_units(MONDAY, made_from="other frames") as fast:
            add(fast, 0, [1])
    assert numbers(table, MONDAY) == [1]


MANY = 10 * NOTED_AT_ONCE


def _killed_when_all_is_noted(root: Path) -> None:
    table = PartitionedTable(root, "numbers", Numbers)
    with table.replace_units(MONDAY, made_from=KEY) as writer:
        for unit in range(1, MANY):
            add(writer, unit, [unit])
        while len(notes(table)[0].units) < MANY - 1:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)


def test_of_many_units_those_finished_last_are_noted_a_moment_later(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=_killed_when_all_is_noted, args=(tmp_path,)
    )
    process.start()
    process.join(timeout=120)
    assert process.exitcode == -signal.SIGKILL
    table = PartitionedTable(tmp_path, "numbers", Numbers)
    with table.replace_units(MONDAY, made_from=KEY) as writer:
        assert writer.finished_units == {*range(1, MANY)}
        add(writer, 0, [0])
    assert numbers(table, MONDAY) == list(range(MANY))


def test_of_many_units_all_are_kept_after_an_error(table: PartitionedTable) -> None:
    interrupted(table, *range(MANY))
    with table.replace_units(MONDAY, made_from=KEY) as writer:
        assert writer.finished_units == {*range(MANY)}


def test_rows_and_size_of_a_day_are_known_from_the_log_alone(table: PartitionedTable) -> None:
    with table.replace(MONDAY, PartSize(rows=2)) as writer:
        for number in range(3):
            writer.append(rows(number))
    write(table, TUESDAY, 7)
    sizes = [path.stat().st_size for path in part_files(table, MONDAY)]
    for path in part_files(table, MONDAY):
        path.unlink()
    stored = table.stored(MONDAY)
    assert (stored.files, stored.rows, stored.bytes) == (2, 3, sum(sizes))
    assert table.row_count(TUESDAY) == 1
    with pytest.raises(PartitionMissingError, match="materialise numbers for 2026-01-07 first"):
        table.stored(MONDAY + dt.timedelta(2))
