"""What is written, read back by the tools that it is for."""

import csv
import datetime as dt
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ocr_assets.cli import main
from ocr_assets.resources.tables import Tables
from ocr_assets.tables.schemas import FilteredDataset
from tests.export.conftest import EMPTY_DAY, KEPT_NAMES, Filtered
from tests.pipeline import DAY, NEXT_DAY, rows

ALLOWED_MIB = 250


def export(filtered: Filtered, out: Path, *arguments: str) -> int:
    return main(["export", "--data", str(filtered.data), "--out", str(out), *arguments])


def json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_json_lines_are_those_that_the_runs_have_written_day_after_day(
    filtered: Filtered, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new folder" / "kept.jsonl"
    assert export(filtered, out, "--format", "jsonl", "--json") == 0
    assert out.read_text() == filtered.kept_lines(DAY) + filtered.kept_lines(NEXT_DAY)
    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    assert summary.pop("seconds") > 0
    assert summary == {
        "out": str(out),
        "format": "jsonl",
        "dates": [DAY, NEXT_DAY, EMPTY_DAY],
        "samples": len(KEPT_NAMES) + 3,
        "left_out": 0,
        "videos_folder": None,
        "placed": 0,
        "already_there": 0,
    }
    assert printed.err == ""


@pytest.mark.parametrize(
    ("arguments", "days"),
    [
        (["--date", NEXT_DAY], [NEXT_DAY]),
        (["--date", NEXT_DAY, "--date", DAY, "--date", DAY], [DAY, NEXT_DAY]),
        (["--first-date", "2026-02-01"], [NEXT_DAY]),
        (["--first-date", "2020-01-01", "--last-date", DAY], [DAY]),
    ],
)
def test_days_can_be_chosen(
    filtered: Filtered, tmp_path: Path, arguments: list[str], days: list[str]
) -> None:
    assert export(filtered, tmp_path / "kept.jsonl", "--format", "jsonl", *arguments) == 0
    lines = (tmp_path / "kept.jsonl").read_text()
    assert lines == "".join(map(filtered.kept_lines, days))


def test_what_was_rejected_has_its_verdict_beside_what_others_have_noted(
    filtered: Filtered, tmp_path: Path
) -> None:
    out = tmp_path / "rejected.jsonl"
    assert export(filtered, out, "--format", "jsonl", "--rejected") == 0
    bad, text, dropped, no_list = json_lines(out)
    assert bad["videos"] == [str(filtered.video(f"{DAY}/bad.mp4"))]
    assert bad["__dj__meta__"]["verdict"] == "quarantine"
    assert bad["__dj__meta__"]["reason_code"] == "not_a_video"
    assert text["__dj__meta__"]["reason_code"] == "above_max_area_ratio"
    assert text["__dj__stats__"]["video_ocr_area_ratio"][0] > 0.2
    assert dropped["__dj__meta__"].pop("reason").endswith("above max_area_ratio 0.200")
    assert dropped["__dj__meta__"] == {
        "language": "en",
        "verdict": "drop",
        "reason_code": "above_max_area_ratio",
    }
    assert no_list["__dj__meta__"]["reason"] == "line 5: `videos` is not a list of paths"


def test_parquet_holds_the_rows_of_the_table_with_their_types(
    filtered: Filtered, tmp_path: Path
) -> None:
    out = tmp_path / "kept.parquet"
    assert export(filtered, out, "--format", "parquet") == 0
    found = pl.read_parquet(out).rename({"videos": "paths"})
    assert found.schema == FilteredDataset.create_empty().schema
    table = [
        *rows(filtered.data, "filtered_dataset"),
        *rows(filtered.data, "filtered_dataset", NEXT_DAY),
    ]
    assert found.to_dicts() == [row for row in table if row["verdict"] == "keep"]


def test_datasets_opens_the_parquet_file(
    filtered: Filtered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    import datasets

    out = tmp_path / "kept.parquet"
    assert export(filtered, out, "--format", "parquet", "--date", DAY) == 0
    opened = datasets.load_dataset(
        "parquet", data_files=str(out), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert opened.num_rows == len(KEPT_NAMES)
    types = opened.features
    assert types["date"].dtype == "date32"
    assert types["videos"].feature.dtype == "large_string"
    assert types["path_bytes"].feature.dtype == "large_binary"
    assert types["ocr_area_ratio"].feature.dtype == "float64"
    row = opened[2]
    assert row["date"] == dt.date.fromisoformat(DAY)
    assert row["videos"] == [str(filtered.videos / DAY / r"bytes \xff.mp4")]
    assert row["path_bytes"] == [os.fsencode(filtered.video(f"{DAY}/".encode() + KEPT_NAMES[2]))]
    assert row["ocr_area_ratio"] == [0]


def test_csv_holds_the_same_with_lists_as_json(
    filtered: Filtered, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "kept.csv"
    assert export(filtered, out, "--format", "csv") == 0
    assert capsys.readouterr().err == ""
    with out.open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    expected = [
        row
        for day in (DAY, NEXT_DAY)
        for row in rows(filtered.data, "filtered_dataset", day)
        if row["verdict"] == "keep"
    ]
    names = [name if name != "paths" else "videos" for name in expected[0] if name != "path_bytes"]
    assert list(found[0]) == names
    kept = (filtered.kept_lines(DAY) + filtered.kept_lines(NEXT_DAY)).splitlines()
    for cells, row, line in zip(found, expected, kept, strict=True):
        assert cells["date"] == row["date"].isoformat()
        assert cells["sample_id"] == row["sample_id"]
        assert json.loads(cells["videos"]) == json.loads(line)["videos"]
        assert json.loads(cells["ocr_area_ratio"]) == row["ocr_area_ratio"]
        assert json.loads(cells["sample_json"]) == json.loads(row["sample_json"])
        assert cells["reason"] == row["reason"]


def test_cells_that_a_spreadsheet_takes_for_formulas_stay_as_they_are_and_are_counted(
    tmp_path: Path,
) -> None:
    from ocr_assets.export.formats import write_csv

    names = ["=1+1.mp4", "-n.mp4", "@a.mp4", "+.mp4", "\tx.mp4", "plain.mp4", "a=1.mp4"]
    frame = pl.DataFrame(
        {"sample_id": names, "paths": [[name] for name in names], "path_bytes": [[None]] * 7},
        schema_overrides={"path_bytes": pl.List(pl.Binary)},
    )
    empty = FilteredDataset.create_empty()
    rows_of_all = pl.concat([empty, frame], how="diagonal")
    assert write_csv([rows_of_all], tmp_path / "a.csv") == 5
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        assert [row["sample_id"] for row in csv.DictReader(file)] == names


@pytest.mark.parametrize("form", ["jsonl", "parquet", "csv"])
def test_of_a_day_without_samples_the_columns_are_written(
    filtered: Filtered, tmp_path: Path, form: str
) -> None:
    out = tmp_path / f"none.{form}"
    assert export(filtered, out, "--format", form, "--date", EMPTY_DAY) == 0
    if form == "jsonl":
        assert out.read_text() == ""
        return
    found = pl.read_parquet(out) if form == "parquet" else pl.read_csv(out)
    assert found.height == 0
    assert {"date", "videos", "reason"} <= set(found.columns)


MANY = (10_000, 250_000)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    for count in MANY:
        write_samples(folder / str(count), count)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "scan"),
    [("jsonl", pl.scan_ndjson), ("parquet", pl.scan_parquet), ("csv", pl.scan_csv)],
)
def test_250_000_samples_peak_near_10_000(
    many: Path, tmp_path: Path, form: str, scan: Callable[[Path], pl.LazyFrame]
) -> None:
    peaks = []
    for count in MANY:
        out = tmp_path / f"{count}.{form}"
        peaks.append(peak_mib("--data", many / str(count), "--format", form, "--out", out))
        assert scan(out).select(pl.len()).collect().item() == count
    assert peaks[1] - peaks[0] < ALLOWED_MIB


def write_samples(data: Path, count: int) -> None:
    """A day of samples that were kept."""
    table = Tables(root=str(data)).filtered_dataset
    schema = FilteredDataset.create_empty().drop("date").schema
    with table.replace(dt.date.fromisoformat(DAY)) as writer:
        for first in range(0, count, 10_000):
            ids = [f"{DAY}/clip {number}.mp4" for number in range(first, first + 10_000)]
            known = pl.DataFrame(
                {
                    "sample_id": ids,
                    "sample_index": range(first, first + 10_000),
                    "video_ids": [[f"{number:032x}"] for number in range(first, first + 10_000)],
                    "paths": [[f"/videos/{one}"] for one in ids],
                    "ocr_area_ratio": [[0.05]] * 10_000,
                    "verdict": "keep",
                    "reason_code": "ok",
                    "reason": "ocr_area_ratio 0.050 within [0.000, 0.100]",
                    "sample_json": json.dumps({"text": "some words of a caption " * 8}),
                }
            )
            others = {name: kind for name, kind in schema.items() if name not in known.columns}
            nothing = [
                pl.lit([None] if name.endswith("ratio") else None, kind).alias(name)
                for name, kind in others.items()
            ]
            writer.append(known.with_columns(nothing).select(schema.names()))


def peak_mib(*arguments: object) -> float:
    """Peak resident memory of an export, in MiB."""
    command = [sys.executable, "-m", "ocr_assets.cli", "export", *map(str, arguments)]
    child = os.spawnv(os.P_NOWAIT, sys.executable, command)
    _, status, usage = os.wait4(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return usage.ru_maxrss / 1024
