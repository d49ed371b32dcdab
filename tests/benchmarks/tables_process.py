"""What the tables cost as a partition, or the whole table, gets many parts; `scale` runs it."""

import datetime as dt
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import polars as pl
from deltalake import DeltaTable

from ocr_assets.resources.tables import Tables
from ocr_assets.tables import checkpoint, delta_log
from ocr_assets.tables.delta_log import folder_of
from ocr_assets.tables.part import Part
from ocr_assets.tables.schemas import OcrBoxes
from ocr_assets.tables.unit_writer import UnitWriter
from tests.benchmarks.apart import answer
from tests.benchmarks.day_of_parts import DATE

COLUMNS = OcrBoxes.create_empty().drop("date").schema
ROWS_A_PART = 256
Result = TypeVar("Result")


def measure(counts: Sequence[int], days: int, parts_a_day: int) -> dict[str, Any]:
    """Seconds and bytes.

    Args:
        counts: Parts of a partition that is the only one, one after the other.
        days: Of a table with many partitions; their files are left out, all but the log's.
        parts_a_day: In each.
    """
    return {
        "partitions": [_partition(count) for count in counts],
        "table": _many_days(days, parts_a_day),
    }


def _partition(count: int) -> dict[str, Any]:
    """A partition of so many parts is written, read, and replaced by another."""
    with TemporaryDirectory() as folder:
        table = Tables(root=folder).ocr_boxes
        master = _master(Path(folder))
        found: dict[str, Any] = {"parts": count}
        for name in ("commit", "replace"):
            with table.replace_units(DATE) as writer:
                for unit, part in enumerate(_copies(writer, Path(table.uri), master, count)):
                    writer.add_unit(unit, [part])
                found["note_seconds"], _ = _timed(writer._checkpoint.note)
                notes = (Path(table.uri) / checkpoint.FOLDER).iterdir()
                found["note_bytes"] = max(path.stat().st_size for path in notes)
                started = time.perf_counter()
            found[f"{name}_seconds"] = time.perf_counter() - started
            found[f"{name}_log_bytes"] = _log_bytes(Path(table.uri))
        found["open_seconds"], _ = _timed(lambda: DeltaTable(table.uri))
        found["parts_seconds"], parts = _timed(lambda: table.parts(DATE))
        assert len(parts) == count
        found["row_count_seconds"], rows = _timed(lambda: table.row_count(DATE))
        assert rows == count * ROWS_A_PART
        ratios = table.scan(DATE).select(pl.col("ocr_area_ratio").mean())
        found["ratios_seconds"], _ = _timed(ratios.collect)
        partition = Path(table.uri) / folder_of(DATE)
        # It has the parts that were replaced, too.
        found["list_seconds"], _ = _timed(lambda: {path.name for path in partition.iterdir()})
        return found


def _many_days(days: int, parts: int) -> dict[str, Any]:
    """A table of many partitions gets one more, before and after its log has a checkpoint."""
    with TemporaryDirectory() as folder:
        table = Tables(root=folder, retention_days=None).ocr_boxes
        first, last = DATE, DATE + dt.timedelta(days)
        found: dict[str, Any] = {"days": days, "parts_a_day": parts}
        commits = []
        for number in range(days):
            date = first + dt.timedelta(number)
            with table.replace_units(date) as writer:
                for unit, part in enumerate(_names_alone(writer, date, parts)):
                    writer.add_unit(unit, [part])
                started = time.perf_counter()
            commits.append(time.perf_counter() - started)
        found["commit_seconds"] = commits
        found["log_bytes"] = _log_bytes(Path(table.uri))
        found["open_seconds"], opened = _timed(lambda: DeltaTable(table.uri))
        found["file_uris_seconds"], uris = _timed(opened.file_uris)
        assert len(uris) == days * parts
        found["parts_seconds"], _ = _timed(lambda: table.parts(first))
        found["row_count_seconds"], _ = _timed(lambda: table.row_count(first))
        found["dates_seconds"], _ = _timed(table.dates)
        found["near_seconds"], _ = _timed(lambda: table.parts_near(last, 30))
        found["checkpoint_seconds"], _ = _timed(lambda: DeltaTable(table.uri).create_checkpoint())
        found["checkpoint_bytes"] = max(
            (path.stat().st_size for path in _log(Path(table.uri)) if path.suffix == ".parquet"),
            default=0,
        )
        found["open_checkpoint_seconds"], _ = _timed(lambda: DeltaTable(table.uri))
        return found


def _master(folder: Path) -> Path:
    """A part file as the step writes it, of frames without text."""
    path = folder / "master.parquet"
    numbers = range(ROWS_A_PART)
    rows: dict[str, Any] = dict.fromkeys(COLUMNS, [None] * ROWS_A_PART) | {
        "video_id": [f"{number:032x}" for number in numbers],
        "frame_index": [number % 3 for number in numbers],
        "boxes": [[] for _ in numbers],
        "ocr_area_ratio": [0.0 for _ in numbers],
        "image_hash": [f"{number:032x}" for number in numbers],
    }
    pl.DataFrame(rows, schema=COLUMNS).write_parquet(path)
    return path


def _copies(writer: UnitWriter, table: Path, master: Path, count: int) -> Iterator[Part]:
    size = master.stat().st_size
    (table / folder_of(DATE)).mkdir(exist_ok=True)
    for part in _names_alone(writer, DATE, count, size):
        shutil.copyfile(master, table / part.relative)
        yield part


def _names_alone(
    writer: UnitWriter, date: dt.date, count: int, size_bytes: int = 20_000
) -> Iterator[Part]:
    writer_id, now_ms = writer.place.writer_id, int(time.time() * 1000)
    for unit in range(count):
        # As long as the names of `PartPlace.write`.
        name = f"part-{unit:08d}-000000-{writer_id}-{unit:032x}.parquet"
        yield Part(f"{folder_of(date)}/{name}", unit, 0, ROWS_A_PART, size_bytes, now_ms)


def _log(table: Path) -> list[Path]:
    return [path for path in (table / delta_log.FOLDER).iterdir() if path.is_file()]


def _log_bytes(table: Path) -> int:
    return sum(path.stat().st_size for path in _log(table))


def _timed(do: Callable[[], Result]) -> tuple[float, Result]:
    started = time.perf_counter()
    result = do()
    return time.perf_counter() - started, result


if __name__ == "__main__":
    answer(measure)
