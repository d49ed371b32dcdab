"""Samples as JSON lines, CSV or Parquet, from frames of rows of `filtered_dataset`."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from ocr_assets.tables.json_text import json_text
from ocr_assets.tables.schemas import FilteredDataset
from ocr_assets.tables.stored_path import stored_paths

Frames = Iterable[pl.DataFrame]
AS_FORMULA = r"^[=+\-@\t\r]"


def write_jsonl(frames: Frames, path: Path, line: Callable[[dict[str, Any]], str]) -> None:
    """Writes a line per row, in their order."""
    with path.open("w", encoding="utf-8") as file:
        for frame in frames:
            file.writelines(map(line, frame.iter_rows(named=True)))


def write_parquet(frames: Frames, path: Path) -> None:
    """Writes the columns of the table, `paths` as `videos`, with their types."""

    def batches(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        # The whole file is asked for: there is nothing to select, filter or limit.
        yield from (_flat(frame) for frame in frames)

    schema = _flat(FilteredDataset.create_empty()).schema
    register_io_source(batches, schema=schema).sink_parquet(path, maintain_order=True)


def write_csv(frames: Frames, path: Path) -> int:
    """Writes the same columns but `path_bytes`; lists are JSON.

    In `videos`, as in JSON lines, bytes that are not UTF-8 are lone surrogates.

    Returns:
        How many cells a spreadsheet would take for formulas. They are written as they are: data
        that is read by programs must not change on the way.
    """
    formulas = 0
    with path.open("wb") as file:
        first = True
        for frame in _empty_first(frames):
            cells = _cells(frame)
            strings = cells.select(pl.col(pl.String).str.contains(AS_FORMULA).sum())
            formulas += sum(strings.row(0)) if strings.width else 0
            cells.write_csv(file, include_header=first, quote_style="non_numeric")
            first = False
    return formulas


def _empty_first(frames: Frames) -> Iterator[pl.DataFrame]:
    """So that there is a header where there are no rows."""
    yield FilteredDataset.create_empty()
    yield from frames


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.rename({"paths": "videos"})


def _cells(frame: pl.DataFrame) -> pl.DataFrame:
    videos = [stored_paths(row) for row in frame.select("paths", "path_bytes").to_dicts()]
    listed = {
        name: frame[name].to_list()
        for name, kind in frame.schema.items()
        if isinstance(kind, pl.List) and name not in ("paths", "path_bytes")
    }
    columns = [
        pl.Series(name, [None if value is None else json_text(value) for value in values]).cast(
            pl.String
        )
        for name, values in {**listed, "paths": videos}.items()
    ]
    return _flat(frame.drop("path_bytes").with_columns(columns))
