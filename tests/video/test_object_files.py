"""Videos read from a real S3 server, as from a disk."""

import json
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ocr_assets.object_storage_errors import ObjectStorageFailedError
from ocr_assets.reasons import Status
from ocr_assets.video import object_file
from ocr_assets.video.container import UnreadableVideoError
from ocr_assets.video.inspection import inspect_video
from ocr_assets.video.limits import VideoLimits
from ocr_assets.video.sampling import SampledFrame, SamplingRule, sample_frames
from ocr_assets.video.source_file import Storage, source_file
from ocr_assets.video.workers import DecodeWorkers
from tests.clips import Picture, numbered, write_sound, write_video
from tests.video.s3_source import S3Source, ensure_secret_is_not_in, s3

__all__ = ["s3"]

RULE = SamplingRule(3)
# Beyond these a clip is not small, and its ranges are many.
SMALL = 40_000
CONTAINERS: dict[str, dict[str, Any]] = {
    "index_last.mp4": {},
    "index_first.mp4": {"options": {"movflags": "faststart"}},
    "fragmented.mp4": {"options": {"movflags": "frag_keyframe+empty_moov"}},
    "a.mkv": {"sound": True},
    "a.webm": {"codec": "libvpx"},
    "a.ts": {"container": "mpegts"},
    "a.avi": {"codec": "mpeg4", "sound": True},
    "b_frames.avi": {"codec": "mpeg4", "b_frames": 2},
    "gaps.avi": {"codec": "mpeg4", "ticks": [*range(0, 144, 3)]},
    "late.avi": {"codec": "mpeg4", "ticks": [*range(20, 68)]},
    "a.mpg": {"codec": "mpeg2video", "rate": 25},
    "without_index.mkv": {"options": {"live": "1"}},
    "late.mkv": {"ticks": [*range(100, 148)]},
}

LONG = ("index_last.mp4", "index_first.mp4", "a.mkv", "a.avi")


def noise(count: int, width: int = 160, height: int = 96) -> Iterator[Picture]:
    """What cannot be compressed, so that few pictures make many bytes."""
    random = np.random.default_rng(1)
    for _ in range(count):
        yield random.integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("containers")
    for name, options in CONTAINERS.items():
        write_video(folder / name, noise(48), **options)
    return folder


@pytest.fixture(scope="module")
def long_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of four minutes, at 14 MB; the pictures change little, but are noise."""
    folder = tmp_path_factory.mktemp("long")
    pictures = list(noise(6, 320, 180))
    for name in LONG:
        write_video(
            folder / name,
            (pictures[number % 6] for number in range(480)),
            rate=2,
            key_frame_every=12,
            **CONTAINERS[name] | {"sound": False},
        )
    return folder


def far(url: str, source: S3Source, **values: Any) -> Any:
    return source_file(url, Storage(source.known, **values))


def same(ones: list[SampledFrame], others: list[SampledFrame]) -> bool:
    return len(ones) == len(others) and all(
        (one.index, one.pts) == (other.index, other.pts) and (one.rgb == other.rgb).all()
        for one, other in zip(ones, others, strict=True)
    )


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("rule", [RULE, SamplingRule(1), SamplingRule(40), SamplingRule(1, 0.7)])
def test_the_frames_of_an_object_are_those_of_the_file(
    containers: Path, s3: S3Source, monkeypatch: pytest.MonkeyPatch, name: str, rule: SamplingRule
) -> None:
    monkeypatch.setattr("ocr_assets.video.frames.SMALL_BYTES", SMALL)
    for constant, value in {"LEAST_BYTES": 8192, "MOST_BYTES": 65536, "ALIGNMENT": 1024}.items():
        monkeypatch.setattr(object_file, constant, value)
    url = s3.put(containers / name, f"folder with space/{name}")
    expected = list(sample_frames(containers / name, rule))
    assert expected
    assert same(list(sample_frames(far(url, s3), rule)), expected)


@pytest.mark.parametrize("name", CONTAINERS)
def test_what_is_said_of_an_object_is_what_is_said_of_the_file(
    containers: Path, s3: S3Source, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("ocr_assets.video.frames.SMALL_BYTES", SMALL)
    url = s3.put(containers / name, name)
    local = inspect_video(containers / name)
    by_content = inspect_video(far(url, s3, identity="content"))
    assert (by_content.video_id, by_content.bytes, by_content.info) == (
        local.video_id,
        local.bytes,
        local.info,
    )
    by_version = inspect_video(far(url, s3))
    assert by_version.video_id not in (None, local.video_id)
    assert by_version.info is not None
    assert local.info is not None
    assert by_version.info.duration_seconds == local.info.duration_seconds
    # Matroska of some size is not read to its end to count frames, and says so.
    is_counted = local.info.container not in ("matroska", "webm") or (local.bytes or 0) <= SMALL
    assert by_version.info.frame_count == (local.info.frame_count if is_counted else None)


@pytest.mark.parametrize("name", LONG)
def test_sampling_a_long_clip_reads_a_small_share_of_it(
    long_clips: Path, s3: S3Source, name: str
) -> None:
    url = s3.put(long_clips / name, name)
    size = (long_clips / name).stat().st_size
    assert size > 5_000_000
    frames = list(sample_frames(far(url, s3), RULE))
    assert s3.bytes_read() < 0.3 * size
    assert s3.requests() <= 12
    assert same(frames, list(sample_frames(long_clips / name, RULE)))
    s3.answered.clear()
    found = inspect_video(far(url, s3))
    assert found.fault is None
    assert s3.bytes_read() < 0.2 * size
    assert s3.requests() <= 8


def test_requests_that_fail_now_and_then_change_nothing(
    containers: Path, s3: S3Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    for constant, value in {"LEAST_BYTES": 8192, "MOST_BYTES": 32768, "ALIGNMENT": 1024}.items():
        monkeypatch.setattr(object_file, constant, value)
    urls = {name: s3.put(containers / name, name) for name in ("index_last.mp4", "a.mkv", "a.ts")}
    s3.refused_share, s3.cut_share = 0.15, 0.06
    for name, url in urls.items():
        assert same(
            list(sample_frames(far(url, s3), RULE)), list(sample_frames(containers / name, RULE))
        )


@pytest.mark.parametrize("name", ["index_last.mp4", "a.mkv", "a.ts"])
@pytest.mark.parametrize("good", [1, 3, 6])
def test_a_storage_that_fails_midway_is_not_taken_for_a_damaged_video(
    containers: Path, s3: S3Source, monkeypatch: pytest.MonkeyPatch, name: str, good: int
) -> None:
    for constant, value in {"LEAST_BYTES": 8192, "MOST_BYTES": 16384, "ALIGNMENT": 1024}.items():
        monkeypatch.setattr(object_file, constant, value)
    url = s3.put(containers / name, name)
    s3.options["max_retries"] = "1"
    s3.fails = lambda _, path: 503 if s3.requests("GET", path) >= good else None
    with pytest.raises(ObjectStorageFailedError) as raised:
        list(sample_frames(far(url, s3), RULE))
    assert str(raised.value) == f"{url} answers with an error (503 Told503)"
    with pytest.raises(ObjectStorageFailedError) as again:
        inspect_video(far(url, s3))
    ensure_secret_is_not_in(*map(traceback.format_exception, (raised.value, again.value)))


def test_an_object_that_is_replaced_while_it_is_read_is_unreadable(
    containers: Path, s3: S3Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_file, "LEAST_BYTES", 8192)
    url = s3.put(containers / "a.mkv", "a.mkv")

    def replace(path: str, number: int) -> None:
        if number == 2:
            s3.put(containers / "late.mkv", "a.mkv")

    s3.before_get = replace
    with pytest.raises(UnreadableVideoError, match="changed in the storage") as raised:
        list(sample_frames(far(url, s3), RULE))
    assert raised.value.fault.status == Status.UNREADABLE


def test_objects_that_are_no_videos_have_the_reasons_that_files_have(
    s3: S3Source, tmp_path: Path
) -> None:
    write_video(tmp_path / "whole.mp4", numbered(24))
    data = (tmp_path / "whole.mp4").read_bytes()
    contents = {
        "empty.mp4": b"",
        "notes.mp4": b"not a video",
        "cut.mp4": data[: len(data) - 700],
        "playlist.mp4": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.mp4\n",
        "concat.mp4": b"ffconcat version 1.0\nfile other.mp4\n",
        "damaged.mkv": b"\x1a\x45\xdf\xa3" + b"x" * 500,
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    write_sound(tmp_path / "sound.mp4")
    for name in (*contents, "sound.mp4"):
        url = s3.put(tmp_path / name, name)
        local, there = inspect_video(tmp_path / name), inspect_video(far(url, s3))
        assert there.fault == local.fault, name
        assert there.fault is not None
        assert there.bytes == local.bytes


def test_ids_tell_versions_apart_and_content_has_the_id_of_a_file(
    s3: S3Source, tmp_path: Path
) -> None:
    first = write_video(tmp_path / "first.mp4", numbered(4))
    second = write_video(tmp_path / "second.mp4", numbered(5))
    one, copy = s3.put(first, "one.mp4"), s3.put(first, "copy.mp4")
    ids = {url: inspect_video(far(url, s3)) for url in (one, copy)}
    assert ids[one].video_id != ids[copy].video_id
    assert inspect_video(far(one, s3)) == ids[one]
    by_content = {inspect_video(far(url, s3, identity="content")).video_id for url in (one, copy)}
    assert by_content == {inspect_video(first).video_id}
    s3.put(second, "one.mp4")
    changed = inspect_video(far(one, s3))
    assert changed.video_id != ids[one].video_id
    assert changed.file_state != ids[one].file_state


def test_workers_say_of_objects_what_is_wrong_and_go_on_with_the_others(
    containers: Path, s3: S3Source, caplog: pytest.LogCaptureFixture
) -> None:
    urls = [s3.put(containers / "a.mkv", key) for key in ("a.mkv", "forbidden.mkv", "z.mkv")]
    urls.insert(2, f"{s3.url}/missing.mkv")
    urls.insert(2, "s3://no-such-bucket/a.mkv")
    urls.insert(2, f"{s3.url}/x//a.mkv")
    s3.fails = lambda _, path: 403 if path.endswith("forbidden.mkv") else None
    with DecodeWorkers(2, storage=Storage(s3.known)) as workers:
        found = list(workers.inspect(urls))
        sampled = [outcome(frames) for frames in workers.sample(urls, RULE)]
    assert [one.fault and (one.fault.status, one.fault.message) for one in found] == [
        None,
        (Status.UNREADABLE, "may not be used with these credentials (403 Told403)"),
        (
            Status.UNREADABLE,
            "cannot be read: its name, 'x//a.mkv', has an empty part, `.`, `..` or control "
            "characters",
        ),
        (Status.UNREADABLE, "is in a bucket that does not exist (404 NoSuchBucket)"),
        (Status.MISSING, "No such file or directory"),
        None,
    ]
    messages = [None if one.fault is None else one.fault.message for one in found]
    assert [3 if message is None else message for message in messages] == sampled
    ensure_secret_is_not_in(found, sampled, caplog.text)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("down.mkv", "answers with an error (503 Told503)"),
        ("stuck.mkv", "does not answer in time"),
        ("unknown.mkv", "does not take the credentials (403 InvalidAccessKeyId)"),
    ],
)
def test_workers_blame_no_object_for_a_storage_that_fails(
    containers: Path, s3: S3Source, name: str, said: str
) -> None:
    urls = [s3.put(containers / "a.mkv", key) for key in ("a.mkv", name, "z.mkv")]
    s3.options |= {"max_retries": "1", "timeout": "1s"}

    def fails(_: str, path: str) -> int | str | None:
        if path.endswith("stuck.mkv"):
            time.sleep(2)
        answers = {"down.mkv": 503, "unknown.mkv": "InvalidAccessKeyId"}
        return answers.get(path.rpartition("/")[2])

    s3.fails = fails
    seen: list[Any] = []
    with DecodeWorkers(2, storage=Storage(s3.known)) as workers:
        with pytest.raises(ObjectStorageFailedError) as inspected:
            seen.extend(one.fault for one in workers.inspect(urls))
        with pytest.raises(ObjectStorageFailedError) as sampled:
            seen.extend(len(list(frames)) for frames in workers.sample(urls, RULE))
    assert seen == [None, 3]
    for raised in (inspected, sampled):
        assert str(raised.value) == f"{s3.url}/{name} {said}"
        ensure_secret_is_not_in(traceback.format_exception(raised.value))


def test_a_storage_that_is_too_slow_is_a_timeout_of_the_video(
    containers: Path, s3: S3Source
) -> None:
    urls = [s3.put(containers / "a.mkv", key) for key in ("slow.mkv", "a.mkv")]
    s3.fails = lambda _, path: time.sleep(30) if path.endswith("slow.mkv") else None
    with DecodeWorkers(2, VideoLimits(max_seconds=2), Storage(s3.known)) as workers:
        slow, good = workers.inspect(urls)
    assert slow.fault is not None
    assert slow.fault.status == Status.TIMEOUT
    assert good.fault is None


def test_small_limits_of_memory_are_for_the_video_and_not_for_the_storages_client(
    containers: Path, long_clips: Path, s3: S3Source
) -> None:
    paths = [containers / "a.mkv", long_clips / "index_last.mp4", containers / "a.ts"]
    urls = [s3.put(path, path.name) for path in paths]
    limits = VideoLimits(max_memory_bytes=128 * 2**20)
    with DecodeWorkers(1, limits, Storage(s3.known)) as workers:
        assert [outcome(frames) for frames in workers.sample(urls, RULE)] == [3, 3, 3]


def test_an_object_can_be_read_like_a_file(s3: S3Source, tmp_path: Path) -> None:
    lines = [json.dumps({"number": number, "text": "x" * 500}) for number in range(3000)]
    (tmp_path / "lines.jsonl").write_text("\n".join(lines))
    url = s3.put(tmp_path / "lines.jsonl", "lines.jsonl")
    with far(url, s3).open() as file:
        assert file.read(9) == b'{"number"'
        assert file.seek(-5, 2) > 0
        assert file.read(100) == b'xxx"}'
        assert file.seek(0) == 0
        assert file.read() == (tmp_path / "lines.jsonl").read_bytes()


def test_a_server_that_is_not_there_is_no_fault_of_an_object(
    containers: Path, s3: S3Source
) -> None:
    url = s3.put(containers / "a.mkv", "a.mkv")
    s3.options |= {"max_retries": "1", "aws_endpoint_url": "http://127.0.0.1:9"}
    with pytest.raises(ObjectStorageFailedError, match="the connection is refused"):
        inspect_video(far(url, s3))


def outcome(frames: Iterator[Any]) -> int | str:
    try:
        return len(list(frames))
    except UnreadableVideoError as error:
        return str(error)
