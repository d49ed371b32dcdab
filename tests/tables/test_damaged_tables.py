"""What cannot be read is named with what is wrong with it and what to do, and can be mended."""

import datetime as dt
import errno
from collections.abc import Callable
from pathlib import Path

import dataframely as dy
import polars as pl
import pytest

from ocr_assets.assets.failures import describe, may_be_retried
from ocr_assets.tables.partition_writer import PartSize
from ocr_assets.tables.partitioned import PartitionedTable, TableDamagedError
from ocr_assets.tables.storage_errors import as_os_errors
from tests.part_files import part_files

MONDAY, TUESDAY = dt.date(2026, 1, 5), dt.date(2026, 1, 6)


class Numbers(dy.Schema):
    """Numbers."""

    date = dy.Date()
    number = dy.Int64()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def remove(path: Path) -> None:
    path.unlink()


def scramble(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:4] + b"\xa5" * 60 + data[64:])


def exchange(path: Path) -> None:
    pl.DataFrame({"name": ["another table's"]}).write_parquet(path)


DAMAGES = {
    truncate: "parquet: File out of specification: expected parquet magic bytes",
    remove: "No such file or directory",
    scramble: "parquet: ",
    exchange: "extra column in file outside of expected schema: name",
}


@pytest.fixture
def table(tmp_path: Path) -> PartitionedTable:
    """Three parts on Monday, one on Tuesday."""
    table = PartitionedTable(tmp_path / "a folder", "numbers", Numbers)
    write(table, MONDAY)
    write(table, TUESDAY)
    return table


def write(table: PartitionedTable, date: dt.date) -> None:
    with table.replace(date, PartSize(rows=1), made_from="these") as writer:
        for number in range(3 if date == MONDAY else 1):
            writer.append(pl.DataFrame({"number": [number]}))


def numbers(table: PartitionedTable, date: dt.date) -> list[int]:
    with table.reading(date):
        return table.scan(date).collect()["number"].to_list()


@pytest.mark.parametrize(("damage", "problem"), DAMAGES.items())
def test_a_part_that_cannot_be_read_is_named_and_its_day_can_be_written_again(
    table: PartitionedTable, damage: Callable[[Path], None], problem: str
) -> None:
    part = part_files(table, MONDAY)[1]
    damage(part)
    with pytest.raises(TableDamagedError) as caught:
        numbers(table, MONDAY)
    said = str(caught.value)
    assert said.startswith(f"numbers of {MONDAY} cannot be read: {part}: {problem}")
    assert said.endswith(f"; materialise numbers for {MONDAY} again")
    assert "\n" not in describe(caught.value)
    assert not may_be_retried(caught.value)
    assert numbers(table, TUESDAY) == [0]
    write(table, MONDAY)
    assert numbers(table, MONDAY) == [0, 1, 2]


@pytest.mark.parametrize(
    "look",
    [
        lambda table: table.parts(MONDAY),
        lambda table: table.parts_near(MONDAY, 1),
        lambda table: table.dates(),
        lambda table: table.row_count(MONDAY),
        lambda table: write(table, MONDAY),
    ],
    ids=["parts", "parts_near", "dates", "row_count", "replace"],
)
@pytest.mark.parametrize("text", ["garbage", "", '{"add":'], ids=["garbage", "empty", "half"])
def test_a_log_that_cannot_be_read_is_named_and_all_days_can_be_written_again(
    table: PartitionedTable, look: Callable[[PartitionedTable], object], text: str
) -> None:
    log = Path(table.uri) / "_delta_log"
    (log / f"{0:020}.json").write_text(text)
    with pytest.raises(TableDamagedError) as caught:
        look(table)
    said = str(caught.value)
    assert said.startswith(f"numbers cannot be read: {log}: ")
    assert said.endswith(
        "; restore that folder, or move it away and materialise all days of numbers again"
    )
    assert "\n" not in said
    log.rename(Path(table.uri).with_name("moved away"))
    assert table.dates() == []
    write(table, MONDAY)
    assert numbers(table, MONDAY) == [0, 1, 2]


def test_a_query_that_makes_no_sense_is_no_damage(table: PartitionedTable) -> None:
    with pytest.raises(pl.exceptions.ColumnNotFoundError), table.reading(MONDAY):
        table.scan(MONDAY).select("name").collect()


def test_rows_that_cannot_be_read_are_made_from_nothing_that_is_known(
    table: PartitionedTable,
) -> None:
    assert table.made_from(MONDAY) == "these"
    truncate(part_files(table, MONDAY)[0])
    assert table.made_from(MONDAY) is None


def test_what_polars_says_of_a_full_disk_is_an_error_of_the_system() -> None:
    full = Path("/dev/full")
    with pytest.raises(OSError, match=str(full)) as caught, as_os_errors(full):
        pl.LazyFrame({"number": [1]}).sink_parquet(full)
    assert caught.value.errno == errno.ENOSPC
    assert not may_be_retried(caught.value)
