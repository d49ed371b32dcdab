"""What the processes do to which faults happen."""

import datetime as dt
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

import dataframely as dy
import polars as pl

from ocr_assets.tables.cleaning import clean
from ocr_assets.tables.partition_writer import PartitionWriter
from ocr_assets.tables.partitioned import PartitionedTable, PartitionMissingError
from tests.part_files import part_files

DAY = dt.date(2026, 1, 5)
OLD, NEW, OTHER = [1, 2], [10, 11], [20, 21]
NOBODY = 65534
KEY = "these frames, this model"
STARTUP_THREADS = {"jemalloc_bg_thd", "polars-ooc-clea"}  # they survive it, or are not missed


class Numbers(dy.Schema):
    """Numbers, one a part."""

    date = dy.Date()
    number = dy.Int64()


def ready() -> None:
    """Fails if something has run already that would not survive a fork."""
    tasks = Path("/proc/self/task").iterdir()
    threads = {(task / "comm").read_text().strip() for task in tasks}
    pools = {name for name in threads - STARTUP_THREADS if not name.startswith("python")}
    assert pools == set()


def table(root: Path) -> PartitionedTable:
    return PartitionedTable(root, "numbers", Numbers)


def write(root: Path, key: str | None = KEY, numbers: Sequence[int] = NEW) -> int:
    """Replaces the partition, one number a part; returns how many parts were there already."""
    with table(root).replace(DAY, made_from=key) as writer:
        append(writer, numbers[writer.resumed_parts :])
    return writer.resumed_parts


def append(writer: PartitionWriter, numbers: Sequence[int]) -> None:
    for number in numbers:
        writer.append(pl.DataFrame({"number": [number]}, schema={"number": pl.Int64}))
        writer.end_part()


def numbers(root: Path) -> list[int]:
    """What readers see; nothing as long as nothing was committed."""
    try:
        found = table(root).scan(DAY).collect()["number"].to_list()
    except PartitionMissingError:
        return []
    assert sorted(pl.scan_delta(table(root).uri).collect()["number"]) == found
    return found


def read(root: Path) -> list[int]:
    """The same, for whoever wants to know what is wrong otherwise."""
    with table(root).reading(DAY):
        return table(root).scan(DAY).collect()["number"].to_list()


def clean_up(root: Path) -> None:
    """As if everything were older than the retention."""
    clean(table(root).folder, dt.timedelta(0))


def files(root: Path) -> set[str]:
    """What is in the table's folder, except for the log's entries."""
    found = {str(path.relative_to(root / "numbers")) for path in root.glob("numbers/*/*")}
    return {name for name in found if not re.fullmatch(r"_delta_log/\d+\.json", name)}


def committed(root: Path) -> set[str]:
    """Of these the parts that readers see."""
    try:
        return {f"{path.parent.name}/{path.name}" for path in part_files(table(root), DAY)}
    except PartitionMissingError:
        return set()


def write_after(seconds: float, root: Path, key: str | None, numbers: Sequence[int]) -> int:
    time.sleep(seconds)
    return write(root, key, numbers)


def work_as_nobody(root: Path) -> None:
    """Writes twice, and loses the permission after the first part of the second time."""
    if os.geteuid() == 0:
        write(root / "before", None, OLD)  # for what is imported late: nobody may not find it
        os.seteuid(NOBODY)
    write(root, None, OLD)
    with table(root).replace(DAY, made_from=KEY) as writer:
        append(writer, NEW[:1])
        (root / "numbers" / f"date={DAY}").chmod(0o555)
        append(writer, NEW[1:])
