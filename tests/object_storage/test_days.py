"""A day from its videos to its report with all tables in an object storage."""

import datetime as dt
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from ocr_assets import settings
from ocr_assets.assets.coverage_report import coverage_report
from ocr_assets.assets.video_manifest import video_manifest
from ocr_assets.commands.exit_codes import BAD_ARGUMENTS, FAILED, SUCCEEDED
from ocr_assets.partitions import daily
from ocr_assets.reasons import Fault, Status
from ocr_assets.resources.tables import tables_at
from ocr_assets.tables.lease import days_leased
from ocr_assets.tables.object_folder import ObjectFolder
from tests.clips import numbered, write_video
from tests.pipeline import ASSETS, DAY, materialize_day, rows
from tests.s3_server import KEY_ID, MARKERS, Answer, Faults, S3Server
from tests.written_day import covering, write_day

DATE = dt.date.fromisoformat(DAY)
DATA = "s3://tables/days"
OPTIONS = "OCR_ASSETS_TABLES_STORAGE_OPTIONS"
TABLES = ("video_manifest", "sampled_frames", "ocr_boxes", "filtered_dataset")
OTHERWISE = {"milliseconds", "file_state"}  # not the same in two runs


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos" / DAY
    folder.mkdir(parents=True)
    for number in range(3):
        write_video(folder / f"{number}.mp4", numbered(3 + number))
    (folder / "bad.mp4").write_text("not a video")
    return tmp_path / "videos"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Dagster's, with all that it keeps on the disk."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def options(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv(OPTIONS, json.dumps(s3.options))
    return s3.options


def without_times(data: str | Path, table: str) -> list[dict[str, Any]]:
    found = rows(data, table)
    return [{name: row[name] for name in row.keys() - OTHERWISE} for row in found]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """`ocr-assets`, in a process that reads the environment anew."""
    return subprocess.run(
        [sys.executable, "-m", "ocr_assets.cli", *words],
        capture_output=True,
        text=True,
        check=False,
    )


def done(*words: str) -> subprocess.CompletedProcess[str]:
    """The same if it succeeds."""
    process = run(*words)
    assert process.returncode == SUCCEEDED, process.stderr
    return process


def everything_in(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_day_on_an_unreliable_storage_is_what_it_is_on_a_disk_and_no_secret_is_left_anywhere(
    s3: S3Server,
    options: dict[str, str],
    videos: Path,
    home: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assets = [*ASSETS, coverage_report]
    frames = {"part_max_frames": 4}
    materialize_day(videos, tmp_path / "data", assets=assets, frames=frames)
    with dg.DagsterInstance.local_temp(str(home)) as instance, s3.failing(Faults(share=0.1)):
        result = materialize_day(videos, DATA, assets=assets, frames=frames, instance=instance)
        again = materialize_day(videos, DATA, assets=assets, frames=frames, instance=instance)
    assert result.success
    assert again.success
    for table in TABLES:
        assert without_times(DATA, table) == without_times(tmp_path / "data", table), table
    kept = settings.kept_jsonl(DATE)
    assert s3.get(f"/tables/days/{kept}") == (tmp_path / "data" / kept).read_bytes()
    assert b"<html" in s3.get(f"/tables/days/{settings.coverage_report(DATE)}")
    metadata = result.asset_materializations_for_node("filtered_dataset")[0].metadata
    assert metadata["kept_jsonl"].value == f"{DATA}/{kept}"
    assert metadata["dagster/uri"].value == f"{DATA}/filtered_dataset"
    assert metadata["partition_path"].value == f"{DATA}/filtered_dataset/date={DAY}"
    assert metadata["stored_bytes"].value > 0
    printed = "".join(capfd.readouterr())
    stored = everything_in(home) + printed.encode()
    stored += b"".join(s3.get(f"/tables/{key}") for key in s3.names())
    assert not any(marker.encode() in stored for marker in (*MARKERS, KEY_ID))


@pytest.mark.parametrize("only", ["GET .*_delta_log", r"GET .*\.parquet"])
def test_what_a_server_repeats_of_a_request_it_refuses_is_kept_nowhere(
    s3: S3Server,
    options: dict[str, str],
    videos: Path,
    home: Path,
    capfd: pytest.CaptureFixture[str],
    only: str,
) -> None:
    @dg.asset(name="video_manifest", partitions_def=daily)
    def idle() -> None:
        pass

    materialize_day(videos, DATA, assets=[video_manifest])
    repeated = Answer(only, 403, "SignatureDoesNotMatch", "@authorization@ @x-amz-security-token@")
    with dg.DagsterInstance.local_temp(str(home)) as instance, s3.answering(repeated):
        for asset in (video_manifest, idle):  # its step fails, and then its checks
            result = materialize_day(
                videos, DATA, assets=[asset], instance=instance, raise_on_error=False
            )
            assert not result.success
    printed = "".join(capfd.readouterr())
    assert printed.count("does not take the credentials (403 SignatureDoesNotMatch)") > 1
    stored = everything_in(home) + printed.encode()
    assert not any(marker.encode() in stored for marker in (*MARKERS, KEY_ID))


def test_the_commands_take_a_url(
    s3: S3Server,
    options: dict[str, str],
    tmp_path: Path,
) -> None:
    samples = {
        "a": [[[covering(0.02)]]],
        "b": [[[covering(0.3)]]],
        "c": [Fault(Status.TRUNCATED, "it is cut short")],
    }
    write_day(DATA, DATE, samples)
    explored = json.loads(
        done("explore", "--data", DATA, "--max-area-ratio", "0.1", "--json", "--apply").stdout
    )
    assert explored["applied"]
    assert explored["after"] == {"kept": 1, "dropped": 1, "quarantined": 1}
    assert f"--data {DATA} " in explored["command"]
    out = tmp_path / "kept.parquet"
    done("export", "--data", DATA, "--format", "parquet", "--out", str(out))
    assert pl.read_parquet(out)["sample_id"].to_list() == ["a"]
    nothing = run("explore", "--data", "s3://tables/nothing-there")
    assert "there are no ocr_boxes in s3://tables/nothing-there" in nothing.stderr
    no_bucket = run("explore", "--data", "s3://no-such-bucket/days")
    assert "is in a bucket that does not exist" in no_bucket.stderr
    malformed = run("export", "--data", "s3://tables/a b", "--format", "csv", "--out", "x.csv")
    assert "is not of the form s3://bucket/prefix" in malformed.stderr
    codes = [process.returncode for process in (nothing, no_bucket, malformed)]
    assert codes == [FAILED, FAILED, BAD_ARGUMENTS]


def test_without_the_package_for_it_the_command_says_what_to_install(videos: Path) -> None:
    program = "import sys; sys.modules['obstore'] = None; from ocr_assets.cli import main; "
    program += "sys.exit(main(sys.argv[1:]))"
    for words in (
        ["explore", "--data", DATA, "--apply"],
        ["run", "--source", str(videos), "--data", DATA, "--date", DAY],
    ):
        process = subprocess.run(
            [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False
        )
        assert process.returncode == FAILED
        assert "pip install 'ocr-assets[object-storage]'" in process.stderr
        assert "Traceback" not in process.stderr


def test_run_takes_a_url_and_waits_for_who_has_the_day(
    s3: S3Server,
    options: dict[str, str],
    videos: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["run", "--source", str(videos), "--data", DATA, "--date", DAY, "--json"]
    words += ["--device", "cpu", "--frame-sample-num", "1"]
    folder = ObjectFolder.at(DATA, options)
    with (
        days_leased(folder, [DATE], "run 1b2c3d4e", wait_seconds=0, say=print, warn=print),
        monkeypatch.context() as context,
    ):
        context.setenv("OCR_ASSETS_TABLES_WAIT_SECONDS", "0")
        refused = run(*words)
    assert f"is working on {DAY} in {DATA}" in refused.stderr
    assert refused.returncode == FAILED
    said = json.loads(done(*words).stdout)
    assert (said["kept"], said["quarantined"]) == (3, 1)
    assert said["tables"] == DATA
    assert said["kept_jsonl"] == f"{DATA}/kept/{DAY}/kept.jsonl"
    assert s3.get(f"/tables/days/kept/{DAY}/kept.jsonl").count(b"\n") == 3
    assert tables_at(DATA).filtered_dataset.row_count(DATE) == 4
