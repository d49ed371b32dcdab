"""Tables in an object storage hold what they do on a disk, however unreliable it is."""

import datetime as dt
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from ocr_assets.tables.checkpoint import read_notes
from ocr_assets.tables.cleaning import clean
from ocr_assets.tables.delta_log import folder_of
from ocr_assets.tables.folder import Folder, folder_at
from ocr_assets.tables.part import Part, PartPlace
from ocr_assets.tables.partition_writer import PartSize
from ocr_assets.tables.partitioned import (
    PartitionedTable,
    PartitionMissingError,
    TableDamagedError,
)
from ocr_assets.tables.unit_writer import PartitionConflictError
from tests.s3_server import Faults, S3Server
from tests.tables.test_partitioned import (
    MONDAY,
    TUESDAY,
    Numbers,
    NumbersWithNames,
    numbers,
    rows,
    write,
)

ROOT = "s3://tables/a/prefix"
KEY = "these frames, this model"


class StopError(Exception):
    """What interrupts a writer."""


@pytest.fixture
def table(s3: S3Server) -> PartitionedTable:
    return PartitionedTable(folder_at(ROOT, s3.options), "numbers", Numbers)


def parts_there(table: PartitionedTable, date: dt.date = MONDAY) -> set[str]:
    """The part files in a partition's folder, committed or not."""
    return {f"{folder_of(date)}/{entry.name}" for entry in table.folder.entries(folder_of(date))}


def interrupted(table: PartitionedTable, *parts: int) -> None:
    with pytest.raises(StopError), table.replace(MONDAY, made_from=KEY) as writer:
        for number in parts:
            writer.append(rows(number))
            writer.end_part()
        raise StopError


def _unit(place: PartPlace, unit: int) -> list[Part]:
    return [place.write(unit, rows(10 * unit + piece), piece) for piece in range(2)]


def history(table: PartitionedTable) -> Iterator[object]:
    """Does what writers do, and yields what readers see after each step."""
    with table.replace(MONDAY, PartSize(rows=1)) as writer:
        for number in range(5):
            writer.append(rows(number))
    yield numbers(table, MONDAY)
    write(table, TUESDAY, 7)
    yield table.dates()
    interrupted(table, 20, 21)
    yield numbers(table, MONDAY)
    with table.replace(MONDAY, made_from=KEY) as writer:
        yield writer.resumed_parts
        yield writer.resumed("number")["number"].to_list()
        writer.append(rows(22))
    yield numbers(table, MONDAY)
    with table.replace_units(TUESDAY, made_from=KEY) as units:
        for unit in (2, 0, 1):
            units.add_unit(unit, _unit(units.place, unit)[::-1])
    yield numbers(table, TUESDAY)
    yield table.made_from(TUESDAY), table.row_count(TUESDAY), len(table.parts(TUESDAY))
    near = table.scan_near(MONDAY, 1)
    assert near is not None
    yield near.collect().rows()
    clean(table.folder, dt.timedelta(0))
    yield numbers(table, MONDAY), numbers(table, TUESDAY)
    yield parts_there(table) == {*table.parts(MONDAY)}


@pytest.mark.parametrize("seed", range(3))
def test_whatever_the_storage_does_readers_see_what_they_do_on_a_disk(
    s3: S3Server, table: PartitionedTable, tmp_path: Path, seed: int
) -> None:
    with s3.failing(Faults(seed, share=0.25)):
        seen = [*history(table)]
    assert seen == [*history(PartitionedTable(tmp_path, "numbers", Numbers))]
    assert sum(request.status in (0, 503) for request in s3.requests()) > 20


def test_requests_without_an_answer_are_made_again(s3: S3Server) -> None:
    options = {**s3.options, "timeout": "1s"}
    table = PartitionedTable(folder_at(ROOT, options), "numbers", Numbers)
    with s3.failing(Faults(share=0.1, kinds=("stall",), in_a_row=1, stall_seconds=2)):
        write(table, MONDAY, 1, 2)
        assert numbers(table, MONDAY) == [1, 2]
    assert any(request.status == 0 for request in s3.requests())


@pytest.mark.parametrize("entry", ["0{20}.json", r"0{19}1\.json", r"0{19}2\.json"])
@pytest.mark.parametrize("key", [KEY, None], ids=["resumable", "not resumable"])
def test_a_commit_whose_answer_is_lost_is_known_to_have_happened(
    s3: S3Server, table: PartitionedTable, entry: str, key: str | None
) -> None:
    lost = Faults(share=1, kinds=("drop after",), only=f"PUT .*_delta_log/{entry}", in_a_row=1)
    with s3.failing(lost):
        for number in range(2):
            with table.replace(MONDAY, made_from=key and f"{key} {number}") as writer:
                writer.append(rows(number))
            writer.ensure_it_stands()
            assert numbers(table, MONDAY) == [number]
    assert len([request for request in s3.requests() if request.status == 0]) == 1
    assert [note for note in read_notes(table.folder).values() if note.key is not None] == []


def test_a_commit_of_which_every_answer_is_lost_is_looked_for(s3: S3Server) -> None:
    options = {**s3.options, "max_retries": "1", "retry_timeout": "2s"}
    table = PartitionedTable(folder_at(ROOT, options), "numbers", Numbers)
    write(table, MONDAY, 1)
    lost = Faults(share=1, kinds=("drop after",), only="PUT .*_delta_log/", in_a_row=99)
    with s3.failing(lost), table.replace(MONDAY, made_from=KEY) as writer:
        writer.append(rows(2))
    writer.ensure_it_stands()
    assert numbers(table, MONDAY) == [2]


def test_every_commit_is_conditional(s3: S3Server, table: PartitionedTable) -> None:
    write(table, MONDAY, 1)
    write(table, MONDAY, 2)
    renamed = PartitionedTable(folder_at(ROOT, s3.options), "numbers", NumbersWithNames)
    with renamed.replace(MONDAY) as writer:
        writer.append(rows(3).with_columns(name=None))
    entries = [
        request
        for request in s3.requests()
        if request.method == "PUT" and "/_delta_log/" in request.path
    ]
    assert len(entries) == 5
    assert all(request.headers.get("if-none-match") == "*" for request in entries)


def _one_of_two(
    root: str, options: dict[str, str], own: int, start: "multiprocessing.synchronize.Barrier"
) -> None:
    table = PartitionedTable(folder_at(root, options), "numbers", Numbers)
    try:
        with table.replace(MONDAY, made_from=f"{own}") as writer:
            writer.append(rows(own, own + 1))
            writer.end_part()
            start.wait(timeout=60)
    except PartitionConflictError:
        raise SystemExit(3) from None


@pytest.mark.parametrize("before", [[], [1, 2]], ids=["first write", "replacement"])
@pytest.mark.parametrize("share", [0.0, 0.3], ids=["reliable", "unreliable"])
def test_of_two_processes_at_once_one_stands_and_the_other_is_told(
    s3: S3Server, table: PartitionedTable, before: Sequence[int], share: float
) -> None:
    write(table, TUESDAY, 0)
    if before:
        write(table, MONDAY, *before)
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    processes = [
        context.Process(target=_one_of_two, args=(ROOT, s3.options, own, start)) for own in (10, 20)
    ]
    with s3.failing(Faults(share=share)):
        for process in processes:
            process.start()
        for process in processes:
            process.join(timeout=120)
    codes = [process.exitcode for process in processes]
    assert sorted(codes, key=str) == [0, 3]
    assert numbers(table, MONDAY) == ([10, 11] if codes[0] == 0 else [20, 21])


def _killed(root: str, options: dict[str, str], where: str) -> None:
    table = PartitionedTable(folder_at(root, options), "numbers", Numbers)
    with table.replace(MONDAY, made_from=KEY) as writer:
        for number in (10, 11):
            writer.append(rows(number))
            writer.end_part()
        if where == "between two parts":
            os.kill(os.getpid(), signal.SIGKILL)


def _begin(target: Callable[..., None], *args: object) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("spawn").Process(target=target, args=args)
    process.start()
    return process


@pytest.mark.parametrize("where", ["between two parts", "right before its commit"])
def test_a_killed_writer_leaves_the_old_rows_and_the_next_one_goes_on(
    s3: S3Server, table: PartitionedTable, where: str
) -> None:
    write(table, MONDAY, 1, 2)
    never = Faults(
        share=1, kinds=("stall",), only=r"PUT .*_delta_log/", in_a_row=9, stall_seconds=60
    )
    with s3.failing(never):
        process = _begin(_killed, ROOT, s3.options, where)
        if where == "right before its commit":
            while not any("0002.json" in one.path for one in s3.requests() if one.method == "PUT"):
                process.join(timeout=0.1)
            process.kill()
        process.join(timeout=60)
    assert process.exitcode == -signal.SIGKILL
    assert numbers(table, MONDAY) == [1, 2]
    with table.replace(MONDAY, made_from=KEY) as writer:
        assert writer.resumed_parts == 2
        writer.append(rows(12))
    assert numbers(table, MONDAY) == [10, 11, 12]
    clean(table.folder, dt.timedelta(0))
    assert parts_there(table) == {*table.parts(MONDAY)}


def test_parts_are_written_by_other_processes(s3: S3Server, table: PartitionedTable) -> None:
    context = multiprocessing.get_context("spawn")
    with (
        table.replace_units(MONDAY, made_from=KEY) as writer,
        ProcessPoolExecutor(2, mp_context=context) as pool,
        s3.failing(Faults(share=0.2)),
    ):
        units = [3, 0, 2, 1]
        for unit, parts in zip(units, pool.map(_unit, [writer.place] * 4, units), strict=True):
            writer.add_unit(unit, parts)
        with pytest.raises(PartitionMissingError):
            table.scan(MONDAY)
    assert numbers(table, MONDAY) == [0, 1, 10, 11, 20, 21, 30, 31]


def test_a_large_part_is_there_as_a_whole_or_not_at_all(
    s3: S3Server, tmp_path: Path, table: PartitionedTable
) -> None:
    content = os.urandom(40 * 2**20)
    folder: Folder = table.folder
    with s3.failing(Faults(share=0.2)):
        with folder.replaced("large") as path:
            path.write_bytes(content)
        with pytest.raises(StopError), folder.replaced("never") as path:
            path.write_bytes(b"half of it")
            raise StopError
    assert s3.get("/tables/a/prefix/numbers/large") == content
    assert [entry.name for entry in folder.entries("")] == ["large"]


def test_a_part_that_is_gone_is_named_and_its_day_can_be_written_again(
    table: PartitionedTable,
) -> None:
    with table.replace(MONDAY, PartSize(rows=1)) as writer:
        for number in range(3):
            writer.append(rows(number))
    lost = table.parts(MONDAY)[1]
    table.folder.remove([lost])
    with (
        pytest.raises(
            TableDamagedError,
            match=f"numbers of {MONDAY} cannot be read: {ROOT}/numbers/{lost}: No such file",
        ),
        table.reading(MONDAY),
    ):
        table.scan(MONDAY).collect()
    write(table, MONDAY, 5)
    assert numbers(table, MONDAY) == [5]
