"""The command, as a user runs it: a process of its own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clips import numbered, text_picture, write_video


def ocr_assets(
    *arguments: object, cwd: Path, **environment: str
) -> "subprocess.CompletedProcess[str]":
    inherited = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    return subprocess.run(
        [sys.executable, "-m", "ocr_assets.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=inherited | environment,
        check=False,
    )


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "my clips"
    folder.mkdir()
    write_video(folder / "a.mp4", numbered(3))
    (folder / "bad.mp4").write_text("not a video")
    return folder


def test_demo_filters_its_clips_and_says_where_everything_is(tmp_path: Path) -> None:
    done = ocr_assets("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    verdicts = {
        line.split()[0].split("/")[1]: line.split()[1]
        for line in done.stdout.splitlines()
        if "/" in line and line.split()[1:2] and line.split()[1] in ("keep", "drop", "quarantine")
    }
    assert verdicts == {
        "broken.mp4": "quarantine",
        "credits.webm": "drop",
        "slides.mp4": "drop",
        "subtitles.mp4": "keep",
        "watermark.mp4": "keep",
        "waves.mkv": "keep",
        "waves.mp4": "keep",
    }
    assert "4 kept, 2 dropped, 1 quarantined" in done.stdout
    assert "ocr_boxes         detecting on " in done.stderr
    assert "\x1b" not in done.stderr  # no bars where there is no terminal
    (kept,) = (tmp_path / "ocr_assets_demo" / "data" / "kept").glob("*/kept.jsonl")
    assert str(kept) in done.stdout
    assert len(kept.read_text().splitlines()) == 4


def test_a_plain_folder_of_clips_is_run_whole_and_json_is_all_there_is(
    clips: Path, tmp_path: Path
) -> None:
    done = ocr_assets("run", "--source", clips, "--data", tmp_path / "out", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    summary = json.loads(done.stdout)
    assert (summary["kept"], summary["dropped"], summary["quarantined"]) == (1, 0, 1)
    assert summary["seconds"] > 0
    good, bad = summary["samples"]
    assert (good["sample_id"], good["verdict"]) == ("a.mp4", "keep")
    assert good["videos"] == [str(clips / "a.mp4")]
    assert good["ocr_area_ratio"] == good["union_area_ratio"] == [0]
    assert bad["verdict"] == "quarantine"
    assert bad["ocr_area_ratio"] == [None]
    assert bad["reason_code"] == "not_a_video"
    assert bad["reason"] == "it is not a video in a supported format, or it is damaged"


def test_the_latest_day_is_run_unless_one_is_named_even_one_before_the_first_partition(
    clips: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    for day in ("2019-05-01", "2026-01-30", "2026-01-31"):
        (source / day).mkdir(parents=True)
    (source / "9999-01-01").mkdir()
    (clips / "a.mp4").rename(source / "2019-05-01" / "a.mp4")
    arguments = ("run", "--source", source, "--data", tmp_path / "out", "--json")
    latest = json.loads(ocr_assets(*arguments, cwd=tmp_path).stdout)
    assert (latest["date"], latest["samples"]) == ("2026-01-31", [])
    done = ocr_assets(*arguments, "--date", "2019-05-01", cwd=tmp_path)
    named = json.loads(done.stdout)
    assert (named["date"], named["kept"]) == ("2019-05-01", 1)


def test_thresholds_and_sampling_reach_the_assets(tmp_path: Path) -> None:
    from ocr_assets.demo import Line

    folder = tmp_path / "clips"
    folder.mkdir()
    slide = text_picture([Line("A slide", 5, 48, 40)], width=192, height=96)
    write_video(folder / "slide.mp4", [slide] * 4)
    arguments = ("run", "--source", folder, "--data", tmp_path / "out", "--json")
    options = ("--min-area-ratio", 0.01, "--max-area-ratio", 0.1, "--frame-sample-num", 1)
    summary = json.loads(ocr_assets(*arguments, *options, cwd=tmp_path).stdout)
    (sample,) = summary["samples"]
    assert (summary["dropped"], sample["verdict"]) == (1, "drop")
    assert sample["reason"].endswith("above max_area_ratio 0.100")


def test_a_run_is_recorded_in_the_users_dagster_instance(clips: Path, tmp_path: Path) -> None:
    import dagster as dg

    home = tmp_path / "home"
    home.mkdir()
    arguments = ("run", "--source", clips, "--data", tmp_path / "out", "--json")
    done = ocr_assets(*arguments, cwd=tmp_path, DAGSTER_HOME=str(home))
    assert done.returncode == 0, done.stderr
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (run,) = instance.get_runs()
        assert run.is_success
        assert run.job_name == "daily_job"
        partitions = instance.get_materialized_partitions(dg.AssetKey("filtered_dataset"))
        assert partitions == {json.loads(done.stdout)["date"]}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--source", "none", "--data", "out"], "--source none is not a folder"),
        (["--source", ".", "--data", "file"], "--data file is not a folder"),
        (["--source", ".", "--data", "out", "--date", "2026-13-01"], "'2026-13-01' is not a date"),
        (["--source", ".", "--data", "out", "--date", "20260101"], "'20260101' is not a date"),
        (["--source", ".", "--data", "out", "--date", "9999-01-01"], "is in the future"),
        (["--source", ".", "--data", "out", "--frame-sample-num", "0"], "frame_sample_num 0"),
        (["--source", ".", "--data", "out", "--max-area-ratio", "-1"], "are not an interval"),
        (["--source", ".", "--data", "out", "--max-area-ratio", "x"], "invalid float value: 'x'"),
        (["--source", ".", "--data", "out", "--date", "0001-01-01"], "is before 1970-01-01"),
        (["--source", ".", "--data", "50%20"], "holds a %"),
        (
            ["--source", ".", "--data", "out", "--sample-every-seconds", "inf"],
            "inf is not a number",
        ),
        (
            ["--source", ".", "--data", "out", "--max-quarantined-share", "2"],
            "max_quarantined_share 2.0 is not between 0 and 1",
        ),
        (["--source", "."], "the following arguments are required: --data"),
        (["--sauce", "."], "the following arguments are required"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(
    tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    (tmp_path / "file").touch()
    done = ocr_assets("run", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert complaint in line


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("OCR_ASSETS_LAYOUT", "spiral", "OCR_ASSETS_LAYOUT='spiral' is not one of"),
        ("OCR_ASSETS_FIRST_DATE", "soon", "OCR_ASSETS_FIRST_DATE='soon' is not a date"),
        ("DAGSTER_HOME", "relative", "must be an absolute path"),
        ("DAGSTER_HOME", "/nonexistent", "/nonexistent"),
    ],
)
def test_an_environment_that_makes_no_sense_is_refused_in_one_line(
    clips: Path, tmp_path: Path, variable: str, value: str, complaint: str
) -> None:
    arguments = ("run", "--source", clips, "--data", tmp_path / "out")
    done = ocr_assets(*arguments, cwd=tmp_path, **{variable: value})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("ocr-assets: the run cannot start: ")
    assert complaint in line


def test_names_that_the_terminal_has_no_letters_for_are_printed_escaped(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "\N{GRINNING FACE}.mp4").touch()
    arguments = ("run", "--source", folder, "--data", tmp_path / "out")
    done = ocr_assets(*arguments, cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "\\U0001f600.mp4" in done.stdout
    assert "1 quarantined" in done.stdout


HOSTILE_NAMES = {  # and how they are shown
    "<img src=x onerror=alert(1)>.mp4": "<img src=x onerror=alert(1)>.mp4",
    "[x](javascript:alert(1))|a.mp4": "[x](javascript:alert(1))|a.mp4",
    "[bold red]a[blink].mp4": "[bold red]a[blink].mp4",
    "`a` [-].mp4": "`a` [-].mp4",
    "\x1b[2J\x1b]0;a\x07.mp4": r"\x1b[2J\x1b]0;a\x07.mp4",
    "b\nocr_boxes         done\r.mp4": r"b\nocr_boxes         done\r.mp4",
    "\u202e4pm.exe.mp4": r"\u202e4pm.exe.mp4",
}


def test_names_of_files_are_shown_as_text_whatever_is_in_them(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in HOSTILE_NAMES:
        (folder / name).write_text("not a video")
    arguments = ("run", "--source", folder, "--data", tmp_path / "out")
    done = ocr_assets(*arguments, cwd=tmp_path, COLUMNS="160")
    assert done.returncode == 0, done.stderr
    shown = {
        line.partition(" quarantine ")[0].strip()
        for line in done.stdout.splitlines()
        if " quarantine " in line
    }
    assert shown == set(HOSTILE_NAMES.values())
    assert (done.stdout + done.stderr).replace("\n", "").isprintable()
    summary = json.loads(ocr_assets(*arguments, "--json", cwd=tmp_path).stdout)
    assert {sample["sample_id"] for sample in summary["samples"]} == set(HOSTILE_NAMES)


def test_an_error_with_a_hostile_name_in_it_is_one_line_of_text(tmp_path: Path) -> None:
    done = ocr_assets("run", "--source", "a\x1b[2J\nb", "--data", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "ocr-assets: --source a\\x1b[2J\\nb is not a folder\n"


def test_a_long_name_leaves_room_for_the_rest_of_its_row(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / f"{'long_' * 40}.mp4").touch()
    done = ocr_assets("run", "--source", folder, "--data", tmp_path / "out", cwd=tmp_path)
    assert {"quarantine", "file", "empty"} <= set(done.stdout.split())


def test_links_out_of_the_source_are_let_in_on_request(clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "a.mp4").symlink_to(clips / "bad.mp4")
    arguments = ("run", "--source", folder, "--data", tmp_path / "out", "--json")
    reasons = []
    for option in ((), ("--allow-outside-source",)):
        (sample,) = json.loads(ocr_assets(*arguments, *option, cwd=tmp_path).stdout)["samples"]
        reasons.append(sample["reason"])
    assert reasons == [
        "it lies outside the source; allow_outside_source lets it in",
        "it is not a video in a supported format, or it is damaged",
    ]


def test_a_source_that_is_mostly_broken_fails_the_run_unless_that_is_expected(
    clips: Path, tmp_path: Path
) -> None:
    for number in range(11):
        (clips / f"{number}.mp4").write_text("not a video")
    arguments = ("run", "--source", clips, "--data", tmp_path / "out", "--json")
    done = ocr_assets(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert "12 of 13 videos are quarantined (12 not_a_video), more than 50%" in done.stderr
    assert not (tmp_path / "out" / "filtered_dataset").exists()
    done = ocr_assets(*arguments, "--max-quarantined-share", 0.95, cwd=tmp_path)
    assert json.loads(done.stdout)["quarantined"] == 12


def test_an_interrupted_run_says_so(clips: Path, tmp_path: Path) -> None:
    inherited = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    command = [sys.executable, "-m", "ocr_assets.cli", "run", "--source", str(clips)]
    with subprocess.Popen(
        [*command, "--data", str(tmp_path / "out")],
        stderr=subprocess.PIPE,
        text=True,
        env=inherited,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("sampled_frames"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
    assert process.returncode == 130
    assert rest.splitlines()[-1] == "ocr-assets: interrupted"


def test_a_failed_run_says_which_step_and_why_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    arguments = ("--source", "source", "--data", "out", "--layout", "jsonl", "--json")
    done = ocr_assets("run", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("ocr-assets: video_manifest failed: ")
    assert ".jsonl. What to do: put the day's videos there" in line


def test_help_waits_for_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys; from ocr_assets.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print(sorted({'dagster', 'polars', 'torch', 'av'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
