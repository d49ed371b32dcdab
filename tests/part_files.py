"""The files of tables that are on a disk."""

import datetime as dt
from pathlib import Path

from ocr_assets.tables.partitioned import PartitionedTable


def part_files(table: PartitionedTable, date: dt.date) -> list[Path]:
    """The part files of a day, in the order of their rows."""
    return [Path(table.uri) / name for name in table.parts(date)]
