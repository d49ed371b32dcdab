"""Links to the kept videos, and copies of them."""

import contextlib
import datetime as dt
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ocr_assets.export.placing import JudgedVideo, ensure_possible, placed_name
from ocr_assets.export.request import ExportError
from ocr_assets.video.fingerprint import fingerprint
from tests.export.conftest import KEPT_NAMES, Filtered
from tests.export.test_formats import export, json_lines
from tests.faults import Fault, build
from tests.pipeline import DAY, NEXT_DAY

HOWS = ["--link", "--copy"]
ID = "0123456789abcdef" * 2
LONG = "ä" * 125


def found_in(folder: Path) -> set[bytes]:
    return {
        os.fsencode(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()
    }


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("how", HOWS)
def test_files_of_a_day_keep_their_paths_and_the_records_name_them(
    filtered: Filtered, tmp_path: Path, how: str
) -> None:
    out, folder = tmp_path / "kept.jsonl", tmp_path / "kept videos"
    chosen = ("--format", "jsonl", "--date", DAY, how, str(folder))
    assert export(filtered, out, *chosen) == 0
    assert found_in(folder) == {f"{DAY}/".encode() + name for name in KEPT_NAMES}
    for sample, name in zip(json_lines(out), KEPT_NAMES, strict=True):
        (path,) = map(Path, sample["videos"])
        assert path == folder / DAY / os.fsdecode(name)
        source = filtered.video(f"{DAY}/".encode() + name)
        assert path.is_symlink() == (how == "--link")
        assert path.resolve() == (source if how == "--link" else path)
        assert path.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("how", HOWS)
def test_videos_of_a_jsonl_are_named_by_their_content_and_equal_ones_are_one(
    filtered: Filtered, tmp_path: Path, how: str
) -> None:
    out, folder = tmp_path / "kept.jsonl", tmp_path / "kept"
    chosen = ("--format", "jsonl", "--date", NEXT_DAY, how, str(folder))
    assert export(filtered, out, *chosen) == 0
    a, b = (
        f"{NEXT_DAY}/x-{fingerprint(filtered.video(f'clips/{name}/x.mp4'))[:16]}.mp4"
        for name in "ab"
    )
    assert found_in(folder) == {a.encode(), b.encode()}
    first, second, third = json_lines(out)
    assert first["videos"] == [str(folder / a), str(folder / b)]
    # What never could be opened is named where it was, as in kept.jsonl.
    assert second["videos"] == [str(folder / a), str(filtered.video("clips/missing.mp4"))]
    assert third["videos"] == []


@pytest.mark.parametrize("how", HOWS)
def test_what_is_there_already_is_not_made_again(
    filtered: Filtered, tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out, folder = tmp_path / "kept.jsonl", tmp_path / "kept"
    chosen = ("--format", "jsonl", how, str(folder), "--json", "--force")
    summaries, inodes = [], []
    for _ in range(2):
        assert export(filtered, out, *chosen) == 0
        summaries.append(json.loads(capsys.readouterr().out))
        inodes.append({path: path.lstat().st_ino for path in folder.rglob("*")})
    count = len(KEPT_NAMES) + 3
    assert [(one["placed"], one["already_there"]) for one in summaries] == [
        (count - 1, 1),
        (0, count),
    ]
    assert inodes[0] == inodes[1]


def remove(path: Path) -> None:
    path.unlink()


def change(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def make_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("how", [*HOWS, "webdataset"])
@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (remove, "cannot be read: No such file or directory"),
        (change, "has changed since it was judged"),
        (make_a_pipe, "is not a file any more"),
    ],
)
def test_a_video_that_is_lost_costs_its_sample_alone_and_is_told(
    filtered: Filtered,
    tmp_path: Path,
    how: str,
    harm: Callable[[Path], None],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, folder = tmp_path / "kept", tmp_path / "videos"
    name = KEPT_NAMES[-1]
    lost = filtered.video(f"{DAY}/".encode() + name)
    data = lost.read_bytes()
    chosen = ["--format", "webdataset"] if how == "webdataset" else ["--format", "jsonl"]
    chosen += [] if how == "webdataset" else [how, str(folder)]
    try:
        harm(lost)
        assert export(filtered, out, "--date", DAY, "--json", *chosen) == 1
    finally:
        lost.unlink(missing_ok=True)
        lost.write_bytes(data)
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith(f'ocr-assets: {DAY}/deep/q"uo,te;\\r\\n\\x1b[2J.mp4 is left out: ')
    assert line.endswith(message)
    summary = json.loads(printed.out)
    assert (summary["samples"], summary["left_out"]) == (len(KEPT_NAMES) - 1, 1)
    if how != "webdataset":
        assert len(json_lines(out)) == len(KEPT_NAMES) - 1
        assert found_in(folder) == {f"{DAY}/".encode() + name for name in KEPT_NAMES[:-1]}


@pytest.mark.parametrize("how", HOWS)
def test_what_others_have_put_there_is_not_overwritten(
    filtered: Filtered, tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out, folder = tmp_path / "kept.jsonl", tmp_path / "kept"
    (folder / DAY).mkdir(parents=True)
    (folder / DAY / "-n.mp4").write_text("mine")
    chosen = ("--format", "jsonl", "--date", DAY, how, str(folder))
    assert export(filtered, out, *chosen) == 0
    (other,) = (folder / DAY).glob("-n-*.mp4")
    assert str(other) in out.read_text()
    other.unlink()
    other.write_text("mine, too")
    assert export(filtered, out, "--force", *chosen) == 1
    (line,) = shown(capsys)
    assert f"{DAY}/-n.mp4 is left out: {other} is there already and is another file" in line
    assert other.read_text() == "mine, too"
    assert (folder / DAY / "-n.mp4").read_text() == "mine"
    assert len(json_lines(out)) == len(KEPT_NAMES) - 1


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(
    ("day", "folder", "problem"),
    [
        (DAY, ".", "holds the videos that were judged, in "),
        (DAY, "..", "holds the videos that were judged, in "),
        (DAY, DAY, "holds the videos that were judged, in "),
        (DAY, f"{DAY}/deep", f"/{DAY}, where the videos that were judged were found"),
        (DAY, f"{DAY}/new folder", f"/{DAY}, where the videos that were judged were found"),
        (NEXT_DAY, ".", "holds the videos that were judged, in "),
        (NEXT_DAY, "clips/b", "/clips/b"),
    ],
)
def test_the_source_is_refused_before_anything_is_written(
    filtered: Filtered,
    tmp_path: Path,
    how: str,
    day: str,
    folder: str,
    problem: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = tmp_path / "link to the source"
    source.symlink_to(filtered.videos)
    before = found_in(filtered.videos)
    out, chosen = tmp_path / "kept.jsonl", source / folder
    was_there = chosen.exists()
    assert export(filtered, out, "--format", "jsonl", "--date", day, how, str(chosen)) == 1
    (line,) = shown(capsys)
    assert line.startswith(f"ocr-assets: {chosen} ")
    assert problem in line
    assert line.endswith("; choose another folder for --link or --copy")
    assert not out.exists()
    assert chosen.exists() == was_there
    assert found_in(filtered.videos) == before


def test_links_go_beside_the_copies_of_another_export(filtered: Filtered, tmp_path: Path) -> None:
    out, folder = tmp_path / "kept.jsonl", tmp_path / "kept"
    chosen = ("--format", "jsonl", "--date", DAY, "--force")
    for how in (*HOWS[::-1], *HOWS):
        assert export(filtered, out, *chosen, how, str(folder)) == 0
    links = [path for path in folder.rglob("*.mp4") if path.is_symlink()]
    assert (len(links), len(found_in(folder))) == (len(KEPT_NAMES), 2 * len(KEPT_NAMES))


@pytest.mark.parametrize(
    ("path", "sample_id", "folder", "is_refused"),
    [
        # a folder a day
        (f"/v/{DAY}/a.mp4", f"{DAY}/a.mp4", "/v", True),
        (f"/v/{DAY}/a.mp4", f"{DAY}/a.mp4", f"/v/{DAY}/b", True),
        (f"/v/{DAY}/a.mp4", f"{DAY}/a.mp4", "/v/kept", False),
        (f"/v/{DAY}/a.mp4", f"{DAY}/a.mp4", f"/v/{DAY} kept", False),
        # all of a folder
        ("/v/a/b.mp4", "a/b.mp4", "/v", True),
        ("/v/a/b.mp4", "a/b.mp4", "/", True),
        ("/v/a/b.mp4", "a/b.mp4", "/v/kept", True),
        ("/v/a/b.mp4", "a/b.mp4", "/kept", False),
        ("/v/\udcff.mp4", r"\xff.mp4//not UTF-8", "/v/kept", True),
        ("/a.mp4", "a.mp4", "/kept", True),
        # the samples of a JSONL
        ("/v/clips/a.mp4", f"{DAY}.jsonl:1", "/v", True),
        ("/v/clips/a.mp4", f"{DAY}.jsonl:1", "/v/clips/kept", False),
    ],
)
def test_a_folder_is_apart_if_no_run_would_list_what_is_put_there(
    path: str, sample_id: str, folder: str, is_refused: bool
) -> None:
    video = JudgedVideo(path, ID, dt.date.fromisoformat(DAY), sample_id)
    refused = pytest.raises(ExportError, match="choose another folder")
    with refused if is_refused else contextlib.nullcontext():
        ensure_possible(Path(folder), [video], "copy")


def test_an_export_that_was_killed_leaves_no_output_and_can_be_run_again(
    filtered: Filtered, tmp_path: Path
) -> None:
    out, folder = tmp_path / "kept.jsonl", tmp_path / "kept"
    fault = Fault(under=folder, action="kill", at=3, calls=("rename",))
    command = [sys.executable, "-m", "ocr_assets.cli", "export", "--data", str(filtered.data)]
    command += ["--format", "jsonl", "--out", str(out), "--date", DAY, "--copy", str(folder)]
    library = build(tmp_path)
    killed = subprocess.run(
        command, env=os.environ | fault.environment | {"LD_PRELOAD": str(library)}, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists()
    assert len([name for name in found_in(folder) if b".unfinished-" not in name]) == 2
    again = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    summary = json.loads(again.stdout)
    assert (summary["placed"], summary["already_there"]) == (len(KEPT_NAMES) - 2, 2)
    assert len(json_lines(out)) == len(KEPT_NAMES)


@pytest.mark.parametrize(
    ("path", "sample_id", "name"),
    [
        (f"/v/{DAY}/a/b.mp4", f"{DAY}/a/b.mp4", f"{DAY}/a/b.mp4"),
        ("/v/a/b.mp4", "a/b.mp4", f"{DAY}/a/b.mp4"),
        ("/v/a/b.mp4", f"{DAY}.jsonl:1", f"{DAY}/b-0123456789abcdef.mp4"),
        ("/v/a/b", "x", f"{DAY}/b-0123456789abcdef"),
        ("/v/../a.mp4", "../a.mp4", f"{DAY}/a-0123456789abcdef.mp4"),
        ("/a.mp4", "/a.mp4", f"{DAY}/a-0123456789abcdef.mp4"),
        (f"/v/{LONG}.mp4", "x", f"{DAY}/{'ä' * 117}-0123456789abcdef.mp4"),
        ("/v/\udcff.mp4", r"\xff.mp4//not UTF-8", f"{DAY}/\udcff.mp4"),
        (r"/v/\xff.mp4", r"\xff.mp4", rf"{DAY}/\xff.mp4"),
    ],
)
def test_names_keep_what_they_can_and_stay_within_the_folder(
    path: str, sample_id: str, name: str
) -> None:
    video = JudgedVideo(path, ID, dt.date.fromisoformat(DAY), sample_id)
    assert placed_name(video) == name
