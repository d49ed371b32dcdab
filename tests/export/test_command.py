"""What the command refuses, and how it says so."""

from pathlib import Path

import pytest

from ocr_assets.cli import main
from tests.export.conftest import EMPTY_DAY, KEPT_NAMES, Filtered
from tests.export.test_formats import export
from tests.pipeline import DAY


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--format", "xml"], "invalid choice: 'xml'"),
        (["--format", "jsonl", "--data", "none"], "--data none is not a folder"),
        (["--format", "jsonl", "--date", "yesterday"], "'yesterday' is not a date"),
        (["--format", "jsonl", "--date", DAY, "--last-date", DAY], "--date goes without"),
        (["--format", "jsonl", "--out", "there"], "--out there exists; --force replaces it"),
        (["--format", "jsonl", "--out", "folder", "--force"], "--out folder is not a file"),
        (["--format", "webdataset", "--out", "there", "--force"], "--out there is not a folder"),
        (["--format", "jsonl", "--link", "there"], "--link there is not a folder"),
        (["--format", "jsonl", "--link", "a", "--copy", "b"], "not allowed with argument --link"),
        (["--format", "webdataset", "--copy", "a"], "webdataset holds the videos itself"),
        (["--format", "csv", "--shard-bytes", "9"], "csv has no shards"),
        (["--format", "webdataset", "--shard-samples", "0"], "'0' is not a whole number of at"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").write_text("mine")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SystemExit, match="2"):
        main(["export", "--data", "folder", "--out", "out", *arguments])
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert complaint in line
    assert {path.name for path in tmp_path.iterdir()} == {"there", "folder"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--date", "2026-03-01"], "filtered_dataset has no partition 2026-03-01"),
        (["--first-date", "2026-03-01"], "no day from 2026-03-01 to"),
    ],
)
def test_a_day_that_was_never_filtered_is_an_error(
    filtered: Filtered,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    complaint: str,
) -> None:
    chosen = ("--format", "jsonl", "--link", str(tmp_path / "links"), *arguments)
    assert export(filtered, tmp_path / "out", *chosen) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_tables_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    arguments = ["--format", "jsonl", "--out", str(tmp_path / "out")]
    assert main(["export", "--data", str(tmp_path / "data"), *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ocr-assets: there is no filtered_dataset in ")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_an_output_is_replaced_as_a_whole_on_request(filtered: Filtered, tmp_path: Path) -> None:
    out = tmp_path / "kept.jsonl"
    out.write_text("old")
    assert export(filtered, out, "--format", "jsonl", "--date", DAY, "--force") == 0
    assert out.read_text() == filtered.kept_lines(DAY)
    assert export(filtered, out, "--format", "jsonl", "--date", EMPTY_DAY, "--force") == 0
    assert out.read_text() == ""


@pytest.mark.parametrize("form", ["jsonl", "parquet", "csv", "webdataset"])
def test_an_output_that_cannot_be_written_is_an_error_and_the_old_one_stays(
    filtered: Filtered, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    (tmp_path / "file").write_text("mine")
    assert export(filtered, tmp_path / "file" / "out", "--format", form) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ocr-assets: ")
    assert "Not a directory" in line
    assert (tmp_path / "file").read_text() == "mine"


def test_the_summary_says_how_many_and_where(
    filtered: Filtered, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, folder = tmp_path / "kept.csv", tmp_path / "kept"
    assert export(filtered, out, "--format", "csv", "--date", DAY, "--copy", str(folder)) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"samples: {len(KEPT_NAMES)} of 1 day, 0 left out",
        f"videos:  {len(KEPT_NAMES)} copied, 0 there already, in {folder}",
        f"csv:     {out}",
    ]
