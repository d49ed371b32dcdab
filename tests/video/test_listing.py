import datetime as dt
import json
import os
from pathlib import Path

import pytest

from ocr_assets.reasons import Fault, Status
from ocr_assets.video import listing
from ocr_assets.video.listing import Sample, VideoReference, list_folder, read_jsonl
from tests.clips import numbered, write_sound, write_video

DAY = dt.date(2026, 1, 31)
OUTSIDE = Fault(
    Status.OUTSIDE_SOURCE, "it lies outside the source; allow_outside_source lets it in"
)
NO_PATH = Fault(Status.BAD_SAMPLE, "it is not a path in a file system")
NO_NAME = Fault(Status.BAD_SAMPLE, "its path holds a NUL character or half a character")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def errors(samples: list[Sample]) -> dict[str, str | None]:
    faults = {
        sample.sample_id: sample.fault or (sample.videos[0].fault if sample.videos else None)
        for sample in samples
    }
    return {sample_id: fault and fault.message for sample_id, fault in faults.items()}


def test_a_folder_is_listed_whole_and_in_order(root: Path) -> None:
    for name in ("b.mp4", "a/z.MKV", "a/y.ts", "c.webm"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    samples = list(list_folder(root, root))
    assert [sample.sample_id for sample in samples] == ["a/y.ts", "a/z.MKV", "b.mp4", "c.webm"]
    assert samples[2].videos[0].path == str(root / "b.mp4")


def test_videos_are_known_by_content_and_other_files_are_passed_over(root: Path) -> None:
    write_video(root / "clip.mp4", numbered(2)).rename(root / "clip")
    for name, options in {"a.mkv": {}, "b.avi": {"codec": "mpeg4"}}.items():
        write_video(root / name, numbered(2), **options).rename(root / f"{name}.bin")
    write_video(root / "c.ts", numbered(2), container="mpegts").rename(root / "c.dat")
    write_sound(root / "sound.m4a")
    (root / "clip.srt").write_text("1\n00:00:01 --> 00:00:02\nHello\n")
    (root / ".hidden.mp4").touch()
    listed = [sample.sample_id for sample in list_folder(root, root)]
    assert listed == ["a.mkv.bin", "b.avi.bin", "c.dat", "clip"]


def test_a_folder_with_a_videos_name_is_reported_and_still_listed(root: Path) -> None:
    (root / "x.mp4").mkdir()
    (root / "x.mp4" / "inner.mp4").touch()
    assert errors(list(list_folder(root, root))) == {
        "x.mp4": "it is a folder",
        "x.mp4/inner.mp4": None,
    }


def test_links_may_not_lead_out_of_the_source_unless_allowed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.mp4").touch()
    (root / "inside.mp4").touch()
    (root / "link_in.mp4").symlink_to(root / "inside.mp4")
    (root / "link_out.mp4").symlink_to(tmp_path / "elsewhere.mp4")
    (root / "folder").symlink_to(tmp_path, target_is_directory=True)
    found = errors(list(list_folder(root, root)))
    assert found["inside.mp4"] is found["link_in.mp4"] is None
    assert found["link_out.mp4"] == ("it lies outside the source; allow_outside_source lets it in")
    assert found["folder"] == "it is a link to a folder, and those are not followed"
    allowed = errors(list(list_folder(root, root, allow_outside_root=True)))
    assert allowed["link_out.mp4"] is None


def test_what_has_a_videos_name_and_is_no_file_is_reported(root: Path) -> None:
    os.mkfifo(root / "pipe.mp4")
    (root / "circle.mp4").symlink_to(root / "circle.mp4")
    found = errors(list(list_folder(root, root)))
    assert found == {
        "pipe.mp4": "it is not a regular file",
        "circle.mp4": "its links go in a circle",
    }


def test_names_that_are_not_utf8_keep_their_bytes_and_are_told_from_those_that_look_alike(
    root: Path,
) -> None:
    names = [b"\xff.mp4", b"\\xff.mp4", b"\\xff\xfe.mp4", b"\xff\xfe.mp4"]
    for name in names:
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).touch()
    samples = list(list_folder(root, root))
    assert len({sample.sample_id for sample in samples}) == len(names)
    for sample in samples:
        (video,) = sample.videos
        assert os.path.isfile(video.path)  # noqa: PTH113 - the name as it is
        data = os.fsencode(root) + b"/\xff.mp4"
        if os.fsencode(video.path) == data:
            assert (video.path_bytes, video.text) == (data, f"{root}/\\xff.mp4")
        assert (video.path_bytes is None) == ("not UTF-8" not in sample.sample_id)


def test_what_is_neither_named_like_a_video_nor_may_be_opened_is_passed_over(
    root: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere.txt").touch()
    (root / "readme.txt").symlink_to(tmp_path / "elsewhere.txt")
    os.mkfifo(root / "socket")
    assert list(list_folder(root, root)) == []


def test_quotes_newlines_and_emoji_in_names_are_kept(root: Path) -> None:
    name = 'a "b"\n\N{GRINNING FACE} <img>.mp4'
    (root / name).touch()
    assert [sample.sample_id for sample in list_folder(root, root)] == [name]


def test_a_flat_folder_is_split_by_the_day_of_modification(root: Path) -> None:
    for name, day in {"old.mp4": 30, "first.mp4": 31, "last.mp4": 31}.items():
        (root / name).touch()
        hour = 23 if name == "last.mp4" else 0
        moment = dt.datetime(2026, 1, day, hour, 59, 59, tzinfo=dt.UTC).timestamp()
        os.utime(root / name, (moment, moment))
    (root / "folder").mkdir()
    listed = list_folder(root, root, recursive=False, modified_on=DAY)
    assert [sample.sample_id for sample in listed] == ["first.mp4", "last.mp4"]


def test_a_jsonl_gives_a_sample_a_line_with_its_other_keys_untouched(root: Path) -> None:
    keys = {"text": "ünïcode", "n": 12345678901234567890, "meta": {"a": [1.5, None]}}
    lines = [
        json.dumps({"videos": ["clips/a.mp4", "b.mp4"], **keys}),
        "",
        json.dumps({"text": "no videos"}),
    ]
    file = root / "2026-01-31.jsonl"
    file.write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    first, second = read_jsonl(file, root)
    assert first.sample_id == "2026-01-31.jsonl:1"
    assert [video.path for video in first.videos] == [
        str(root / "clips" / "a.mp4"),
        str(root / "b.mp4"),
    ]
    assert first.other_keys == keys
    assert (second.sample_id, second.videos) == ("2026-01-31.jsonl:3", ())
    assert second.fault is None


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b'{"videos": ["a.mp4"', "line 2 is not JSON: "),
        (b'["a.mp4"]', "line 2 is not a JSON object"),
        (b'{"videos": "a.mp4"}', "line 2: `videos` is not a list of paths"),
        (b'{"videos": [1]}', "line 2: `videos` is not a list of paths"),
        (b'{"videos": ["\xff.mp4"]}', "line 2 is not JSON: "),
        (b"[" * 100_000, "line 2 is not JSON: "),
        (b"[" * 500 + b"]" * 500, "line 2 is not JSON: it is nested deeper than 100 levels"),
        (b'{"videos": {}}', "line 2: `videos` is not a list of paths"),
        (b'{"videos": ""}', "line 2: `videos` is not a list of paths"),
        (b'{"videos": false}', "line 2: `videos` is not a list of paths"),
        (b'{"score": NaN}', "line 2 is not JSON: NaN is not a JSON number"),
        (b'{"score": 1e400}', "line 2 is not JSON: 1e400 is not a JSON number"),
    ],
)
def test_a_broken_line_costs_only_its_own_sample(root: Path, line: bytes, error: str) -> None:
    file = root / "day.jsonl"
    good = b'{"videos": ["a.mp4"]}'
    file.write_bytes(good + b"\n" + line + b"\n" + good + b"\n")
    first, broken, last = read_jsonl(file, root)
    assert first.fault is last.fault is None
    assert broken.fault is not None
    assert broken.fault.status == Status.BAD_SAMPLE
    assert broken.fault.message.startswith(error)
    assert broken.videos == ()


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("../outside.mp4", OUTSIDE),
        ("/etc/hostname", OUTSIDE),
        ("sub/../../outside.mp4", OUTSIDE),
        ("https://example.com/a.mp4", NO_PATH),
        ("", Fault(Status.NOT_A_FILE, "it is a folder")),
        ("a\0b.mp4", NO_NAME),
        ("a\ud800\0b.mp4", NO_NAME),
        ("\ud800.mp4", NO_NAME),
        ("ok.mp4", None),
        ("missing.mp4", None),
        ("\udcff.mp4", None),
    ],
)
def test_a_jsonls_paths_must_lie_in_the_source(root: Path, path: str, fault: Fault | None) -> None:
    (root / "ok.mp4").touch()
    file = root / "day.jsonl"
    file.write_text(json.dumps({"videos": [path]}))
    (sample,) = read_jsonl(file, root)
    assert sample.videos[0].fault == fault
    assert sample.videos[0].text.encode()


def test_a_line_too_long_to_be_held_costs_only_its_own_sample(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MAX_LINE_BYTES", 100)
    file = root / "day.jsonl"
    long = json.dumps({"videos": [], "text": "x" * 350})
    file.write_text("\n".join(['{"a": 1}', long, '{"b": 2}', long]))
    first, second, third, fourth = read_jsonl(file, root)
    assert (first.other_keys, third.other_keys) == ({"a": 1}, {"b": 2})
    for number, sample in ((2, second), (4, fourth)):
        problem = f"line {number} has more than 100 bytes"
        assert sample == Sample(f"day.jsonl:{number}", fault=Fault(Status.BAD_SAMPLE, problem))


def test_paths_outside_the_source_are_let_in_on_request(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.mp4").touch()
    file = root / "day.jsonl"
    file.write_text(json.dumps({"videos": ["../outside.mp4"]}))
    (sample,) = read_jsonl(file, root, allow_outside_root=True)
    assert sample.videos == (VideoReference(str(tmp_path / "outside.mp4")),)
