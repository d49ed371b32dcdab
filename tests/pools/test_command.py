"""`ocr-assets pools`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ocr_assets import settings
from ocr_assets.cli import main
from ocr_assets.definitions import easyocr
from ocr_assets.instance import open_instance
from tests.clips import numbered, write_video
from tests.fake_nvml import GIB, FakeNvml
from tests.pools.instance import add_run, limit_of, make_home, set_behind_our_back


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`DAGSTER_HOME`; the command runs in another folder."""
    home = make_home(tmp_path / "home")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return home


def pools(*arguments: str) -> int:
    return main(["pools", *arguments])


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert pools("--json") == 0
    return json.loads(capsys.readouterr().out)


def test_sync_sets_the_limits_and_says_what_changed(
    home: Path, fake_nvml: FakeNvml, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_nvml.add_gpu(24 * GIB)
    assert pools("sync") == 0
    gpu, decode = capsys.readouterr().out.splitlines()
    slots = easyocr.plan().slots_now
    assert gpu.startswith(f"gpu 1 -> {slots}: 2 readers on GPU 0 (24.0 GiB, 24.0 GiB free)")
    assert decode.startswith("decode ")
    assert pools("sync") == 0
    assert capsys.readouterr().out.splitlines()[0] == f"gpu {slots}: unchanged"
    with open_instance() as instance:
        assert limit_of(instance) == slots


def test_the_table_shows_limits_who_set_them_and_every_step(
    home: Path, fake_nvml: FakeNvml, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pools("pin", "gpu", "1") == 0
    with open_instance() as instance:
        runs = [
            add_run(instance, dg.DagsterRunStatus.STARTED, {settings.PARTITION_TAG: day}).run_id
            for day in ("2026-01-30", "2026-01-31")
        ]
        for run_id in runs:
            instance.event_log_storage.claim_concurrency_slot("gpu", run_id, "ocr_boxes")
    capsys.readouterr()
    assert pools() == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines]
    assert ["pool", "limit", "set", "by", "claimed", "waiting"] in rows
    (gpu,) = [row for row in rows if row[:2] == ["gpu", "1"]]
    assert gpu[2:4] == ["pinned", "by"]
    assert gpu[-2:] == ["1", "1"]
    (decode,) = [row for row in rows if row[:2] == ["decode", "1"]]
    assert decode[2:] == ["dagster.yaml's", "default_limit", "0", "0"]
    assert ["gpu", "claimed", runs[0][:8], "ocr_boxes", "2026-01-30"] in rows
    assert ["gpu", "waiting", runs[1][:8], "ocr_boxes", "2026-01-31"] in rows
    found = shown(capsys)
    gpu = found["pools"][0]
    assert (gpu["pool"], gpu["limit"], found["notes"]) == ("gpu", 1, [])
    step = {"run_id": runs[0], "step_key": "ocr_boxes", "partition": "2026-01-30"}
    assert gpu["claimed"] == [step]
    assert gpu["waiting"] == [{**step, "run_id": runs[1], "partition": "2026-01-31"}]


def test_pin_and_unpin_say_what_they_do(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pools("pin", "gpu", "2") == 0
    said = capsys.readouterr().out
    assert said == "gpu 1 -> 2, pinned; `ocr-assets pools unpin gpu` undoes it\n"
    assert pools("sync") == 0
    assert "gpu left at 2: pinned by " in capsys.readouterr().out
    assert pools("unpin", "gpu") == 0
    assert capsys.readouterr().out.startswith("gpu follows the machine: 2 until the sensor ")
    assert pools("sync") == 0
    assert "left at" not in capsys.readouterr().out


def test_a_limit_set_in_the_web_ui_is_shown_as_such_and_unpin_gives_it_back(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_instance() as instance:
        set_behind_our_back(instance, 7)
    assert shown(capsys)["pools"][0]["set_by"] == "web UI or dagster CLI"
    assert pools("sync") == 0
    assert "gpu left at 7: it was set in the web UI" in capsys.readouterr().out
    assert pools("unpin", "gpu") == 0
    assert pools("sync") == 0
    assert "gpu 7 -> " in capsys.readouterr().out


def test_a_new_pool_is_pinned_with_a_note_and_an_unknown_one_cannot_be_unpinned(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        pools("unpin", "gpx")
    assert refused.value.code == 2
    said = capsys.readouterr().err
    assert said == "ocr-assets: there is no pool gpx; there are gpu, decode\n"
    assert pools("pin", "gpx", "2") == 0
    _, note = capsys.readouterr().out.splitlines()
    assert note.startswith("note: gpx is a new name, gpu, decode are those in use; ")
    assert [pool["pool"] for pool in shown(capsys)["pools"]] == ["gpu", "decode", "gpx"]
    assert pools("pin", "gpx", "3") == 0
    assert "note" not in capsys.readouterr().out
    assert pools("unpin", "gpx") == 0
    assert capsys.readouterr().out == "gpx stays at 3: it is no pool of this project\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("pin", "gpu", "-1"), "a limit of -1 is not within 0 and 1000"),
        (("pin", "gpu", "1001"), "a limit of 1001 is not within 0 and 1000"),
        (("pin", "gpu", "two"), "invalid int value: 'two'"),
        (("pin", "gpu"), "the following arguments are required: N"),
        (("unpin",), "the following arguments are required: POOL"),
        (("unpinn",), "invalid choice: 'unpinn'"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], complaint: str
) -> None:
    with pytest.raises(SystemExit) as refused:
        pools(*arguments)
    assert refused.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert complaint in line


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("", "DAGSTER_HOME is not set: it names the folder of Dagster's instance"),
        ("relative", "must be an absolute path"),
        ("/nonexistent", "/nonexistent"),
    ],
)
def test_without_an_instance_every_command_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    value: str,
    complaint: str,
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", value)
    for arguments in ((), ("--json",), ("pin", "gpu", "1"), ("unpin", "gpu"), ("sync",)):
        assert pools(*arguments) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        (line,) = captured.err.splitlines()
        assert line.startswith("ocr-assets: ")
        assert complaint in line


def test_a_dagster_yaml_that_makes_no_sense_is_said_in_one_line(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "dagster.yaml").write_text("storage: {nowhere: {}}\n")
    assert pools() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "nowhere" in line


def test_a_state_directory_that_cannot_be_used_is_said_in_one_line(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    monkeypatch.setenv(settings.STATE_VARIABLE, str(tmp_path / "state"))
    assert pools("sync") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "chmod 700" in line


def test_a_run_queue_narrower_than_the_pool_is_pointed_out(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pools("pin", "gpu", "3")
    assert shown(capsys)["notes"] == []
    pools("pin", "gpu", "4")
    (note,) = shown(capsys)["notes"]
    assert note == (
        "the run queue lets 3 runs through at once, and gpu has 4 slots: runs, not the GPU, are "
        "the limit; raise the limit of ocr_assets/gpu_pool in "
        "concurrency.runs.tag_concurrency_limits in dagster.yaml"
    )
    pools("pin", "gpu", "5")
    everything, _ = shown(capsys)["notes"]
    assert "4 runs through at once" in everything
    assert "raise concurrency.runs.max_concurrent_runs in dagster.yaml" in everything
    assert pools() == 0
    assert f"note     {everything}" in capsys.readouterr().out.splitlines()


def test_the_instance_is_the_same_from_every_folder(home: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ocr_assets.cli", "pools"]
    for folder, arguments in ((tmp_path, ("pin", "gpu", "5")), (home, ("pin", "decode", "6"))):
        subprocess.run([*command, *arguments], cwd=folder, check=True, capture_output=True)
    seen = subprocess.run(
        [*command, "--json"], cwd=tmp_path / "elsewhere", check=True, capture_output=True
    )
    limits = {pool["pool"]: pool["limit"] for pool in json.loads(seen.stdout)["pools"]}
    assert limits == {"gpu": 5, "decode": 6}
    assert (home / ".dagster" / "storage" / "history" / "runs.db").is_file()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_folder_that_a_variable_names_is_taken_from_the_instances_too(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "dagster.yaml").write_text("storage: {sqlite: {base_dir: {env: DAGSTER_TABLES}}}\n")
    monkeypatch.setenv("DAGSTER_TABLES", "tables")
    assert pools("pin", "gpu", "1") == 0
    assert (home / "tables" / "history" / "runs.db").is_file()


def test_a_run_from_another_folder_leaves_everything_in_the_instances_folder(
    home: Path, tmp_path: Path
) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    write_video(clips / "a.mp4", numbered(3))
    arguments = ("run", "--source", str(clips), "--data", str(tmp_path / "out"), "--json")
    done = subprocess.run(
        [sys.executable, "-m", "ocr_assets.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path / "elsewhere",
        env=os.environ,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert list((home / ".dagster" / "compute_logs").iterdir())
    with open_instance() as instance:
        (run,) = instance.get_runs()
        assert run.is_success
        ref = instance.get_ref()
    # Another process may open it again from wherever it is.
    assert ref.storage_data is not None
    assert ref.storage_data.config_dict == {"base_dir": str(home / ".dagster" / "storage")}
