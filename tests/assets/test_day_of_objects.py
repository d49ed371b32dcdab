"""Days whose videos are objects of a real S3 server, against the same ones in a folder."""

import datetime as dt
import itertools
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ocr_assets.assets.sampled_frames import sampled_frames
from ocr_assets.assets.video_manifest import video_manifest
from ocr_assets.automation import late_videos
from ocr_assets.cli import main
from ocr_assets.demo import Line
from ocr_assets.late_videos import cannot_be_watched
from ocr_assets.object_storage import ObjectStorageUnavailableError
from ocr_assets.object_storage_errors import ObjectStorageError
from ocr_assets.reasons import Status
from ocr_assets.resources.video_source import SourceMissingError, VideoSource
from ocr_assets.settings import Layout
from ocr_assets.tables.partitioned import PartitionMissingError
from ocr_assets.video.listing import Sample, list_folder
from tests import watched
from tests.clips import numbered, text_picture, write_video
from tests.pipeline import DAY, NEXT_DAY, materialize_day, rows
from tests.video.s3_source import S3Source, ensure_secret_is_not_in, s3, s3_server

__all__ = ["s3"]

DATE = dt.date.fromisoformat(DAY)
SIZE = {"width": 320, "height": 192}
CLIPS: dict[str, dict[str, Any]] = {
    "clip.mp4": {"options": {"movflags": "faststart"}},
    "deep/er/clip.mkv": {},
    "deep/clip.webm": {"codec": "libvpx"},
    "ts clip.ts": {"container": "mpegts"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    text = text_picture([Line("A slide of text", 5, y, 40) for y in (30, 80, 130)], **SIZE)
    for name, options in CLIPS.items():
        path = root / DAY / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, numbered(8, **SIZE), **options)
    write_video(root / DAY / "slide.mp4", [text] * 3)
    (root / DAY / "copy of slide.mp4").write_bytes((root / DAY / "slide.mp4").read_bytes())
    (root / DAY / "bad.mp4").write_text("not a video")
    (root / DAY / "empty.mp4").touch()
    (root / DAY / "clip.srt").write_text("1\n00:00:00 --> 00:00:01\nHello\n")
    (root / DAY / ".hidden.mp4").touch()
    return root


@pytest.fixture(scope="module")
def local(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("local")
    run(folder, data)
    return data


def run(source: Path | VideoSource, data: Path, **options: Any) -> dg.ExecuteInProcessResult:
    return materialize_day(
        source,
        data,
        frames={"frame_sample_num": 2},
        rule={"max_area_ratio": 0.2},
        **options,
    )


def source_of(s3: S3Source, prefix: str = "", **values: Any) -> VideoSource:
    root = f"{s3.url}/{prefix}".rstrip("/")
    return VideoSource(root=root, storage_options=s3.options, **values)


def without(found: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in names} for row in found]


def ids(samples: Iterator[Sample]) -> list[str]:
    return [sample.sample_id for sample in samples]


def put_empty(s3: S3Source, keys: list[str]) -> None:
    with ThreadPoolExecutor(4) as threads:
        put = lambda key: s3.client.put_object(Bucket=s3.bucket, Key=key, Body=b"x")  # noqa: E731
        list(threads.map(put, keys))


def test_a_day_of_objects_has_the_tables_of_the_same_day_of_files(
    folder: Path, local: Path, s3: S3Source, tmp_path: Path
) -> None:
    s3.put_folder(folder, "a prefix/")
    run(source_of(s3, "a prefix", object_identity="content"), tmp_path)
    places = ("path", "file_state")
    ours, theirs = rows(tmp_path, "video_manifest"), rows(local, "video_manifest")
    assert without(ours, *places) == without(theirs, *places)
    assert [row["path"] for row in ours] == [
        f"{s3.url}/a prefix/{row['sample_id']}" for row in theirs
    ]
    assert rows(tmp_path, "sampled_frames") == rows(local, "sampled_frames")
    timed = ("detection_milliseconds", "milliseconds", "device")
    assert without(rows(tmp_path, "ocr_boxes"), *timed) == without(rows(local, "ocr_boxes"), *timed)
    assert without(rows(tmp_path, "filtered_dataset"), "paths") == without(
        rows(local, "filtered_dataset"), "paths"
    )
    kept = (tmp_path / "kept" / DAY / "kept.jsonl").read_text().splitlines()
    assert [json.loads(line)["videos"] for line in kept] == [
        [f"{s3.url}/a prefix/{DAY}/{name}"] for name in sorted(CLIPS, key=lambda n: n.split("/"))
    ]


def test_told_apart_by_version_they_get_the_same_verdicts_and_copies_are_found_by_their_frames(
    folder: Path, local: Path, s3: S3Source, tmp_path: Path
) -> None:
    s3.put_folder(folder)
    s3.refused_share, s3.cut_share = 0.1, 0.06
    result = run(source_of(s3), tmp_path)
    names = ("sample_id", "verdict", "reason", "ocr_area_ratio", "union_area_ratio")
    ours, theirs = (
        [[row[name] for name in names] for row in rows(data, "filtered_dataset")]
        for data in (tmp_path, local)
    )
    assert ours == theirs
    frames = rows(tmp_path, "sampled_frames")
    assert len(frames) == len(rows(local, "sampled_frames")) + 2
    assert {row["image_hash"] for row in frames} == {
        row["image_hash"] for row in rows(local, "sampled_frames")
    }
    events = [event.message or "" for event in result.all_events]
    ensure_secret_is_not_in(rows(tmp_path, "video_manifest"), events)


def test_objects_that_have_not_changed_are_not_read_again(
    folder: Path, s3: S3Source, tmp_path: Path
) -> None:
    s3.put_folder(folder)
    source = source_of(s3)
    materialize_day(source, tmp_path, assets=[video_manifest])
    before = rows(tmp_path, "video_manifest")
    s3.answered.clear()
    materialize_day(source, tmp_path, assets=[video_manifest])
    assert rows(tmp_path, "video_manifest") == before
    read = {one.path for one in s3.answered if one.bytes}
    assert read == {f"/{s3.bucket}/{DAY}/bad.mp4"}  # what cannot be read may have been mended
    s3.put(folder / DAY / "slide.mp4", f"{DAY}/clip.mp4")
    s3.answered.clear()
    materialize_day(source, tmp_path, assets=[video_manifest])
    assert {one.path for one in s3.answered if one.bytes} == read | {f"/{s3.bucket}/{DAY}/clip.mp4"}
    assert rows(tmp_path, "video_manifest") != before
    # Ids that were made otherwise are not taken over.
    materialize_day(source_of(s3, object_identity="content"), tmp_path, assets=[video_manifest])
    slide, copy = (
        row["video_id"]
        for row in rows(tmp_path, "video_manifest")
        if row["sample_id"].endswith(("copy of slide.mp4", "/clip.mp4"))
    )
    assert slide == copy


def test_what_is_wrong_with_some_objects_costs_their_samples_alone(
    folder: Path, s3: S3Source, tmp_path: Path
) -> None:
    s3.put_folder(folder)
    answers = {"clip.mp4": 403, "clip.mkv": 400, "clip.webm": 404}
    s3.fails = lambda _, path: answers.get(path.rpartition("/")[2])
    materialize_day(source_of(s3), tmp_path, assets=[video_manifest])
    found = {
        row["sample_id"].rpartition("/")[2]: (row["status"], row["error"])
        for row in rows(tmp_path, "video_manifest")
    }
    assert found == {
        "bad.mp4": (
            Status.NOT_A_VIDEO,
            "it is not a video in a supported format, or it is damaged",
        ),
        "clip.mp4": (
            Status.UNREADABLE,
            "may not be used with these credentials (403 Told403)",
        ),
        "clip.mkv": (Status.UNREADABLE, "answers with an error (400 Told400)"),
        "clip.webm": (Status.MISSING, "No such file or directory"),
        "copy of slide.mp4": (Status.OK, None),
        "empty.mp4": (Status.NOT_A_VIDEO, "the file is empty"),
        "slide.mp4": (Status.OK, None),
        "ts clip.ts": (Status.OK, None),
    }


@pytest.mark.parametrize("asset", [video_manifest, sampled_frames], ids=["manifest", "frames"])
def test_a_storage_that_goes_away_in_the_middle_of_a_day_quarantines_nothing(
    folder: Path,
    s3: S3Source,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asset: dg.AssetsDefinition,
) -> None:
    monkeypatch.setattr("ocr_assets.assets.daily_asset.RETRY_POLICY", dg.RetryPolicy(delay=0.1))
    s3.put_folder(folder)
    s3.options["max_retries"] = "1"
    if asset is sampled_frames:
        materialize_day(source_of(s3), tmp_path, assets=[video_manifest])
    s3.answered.clear()
    s3.fails = lambda _, path: 503 if s3.requests("GET", ".mp4") >= 2 else None
    result = materialize_day(source_of(s3), tmp_path, assets=[asset], raise_on_error=False)
    assert not result.success
    assert [event for event in result.all_events if event.is_step_up_for_retry]
    texts = [str(event.event_specific_data) for event in result.all_events]
    assert any("answers with an error (503 Told503)" in text for text in texts)
    ensure_secret_is_not_in(*texts)
    with pytest.raises(PartitionMissingError):
        rows(tmp_path, asset.key.to_user_string())
    s3.fails = lambda *_: None
    run(source_of(s3), tmp_path)
    faults = {row["sample_id"]: row["error"] for row in rows(tmp_path, "video_manifest")}
    assert {name for name, error in faults.items() if error} == {
        f"{DAY}/bad.mp4",
        f"{DAY}/empty.mp4",
    }
    assert not [row["error"] for row in rows(tmp_path, "sampled_frames") if row["error"]]


def test_an_object_that_changes_between_two_steps_gives_no_frames_under_the_old_id(
    folder: Path, s3: S3Source, tmp_path: Path
) -> None:
    s3.put_folder(folder)
    materialize_day(source_of(s3), tmp_path, assets=[video_manifest])
    s3.put(folder / DAY / "slide.mp4", f"{DAY}/clip.mp4")
    # The other way of telling them apart changes nothing of what is known of them.
    other = source_of(s3, object_identity="content")
    materialize_day(other, tmp_path, assets=[sampled_frames])
    errors = [row["error"] for row in rows(tmp_path, "sampled_frames") if row["error"]]
    assert errors == ["it was changed in the storage since it was listed"]


def test_a_listing_has_the_order_of_a_folders_and_passes_over_what_is_hidden(
    s3: S3Source, tmp_path: Path
) -> None:
    names = [
        *("a.mp4", "a/x.mp4", "a-b.mp4", "a b.mp4", "a/b/c.mp4", "a.b/c.mp4", "B.MP4", "ä.mkv"),
        *(".hidden.mp4", ".folder/x.mp4", "a/.x.mp4", "notes.txt", "100%20#?.mp4", "~.ts"),
    ]
    for name in names:
        path = tmp_path / DAY / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    put_empty(s3, [f"p/{DAY}/{name}" for name in names])
    for key in (f"p/{DAY}/", f"p/{DAY}/a/", "p/"):
        s3.client.put_object(Bucket=s3.bucket, Key=key, Body=b"")
    expected = ids(list_folder(tmp_path, tmp_path / DAY))
    assert len(expected) == 10
    source = source_of(s3, "p")
    assert ids(source.samples(DATE)) == expected
    assert ids(source_of(s3, "p", layout="whole_folder").samples(DATE)) == expected
    assert ids(source_of(s3, f"p/{DAY}", layout="whole_folder").samples(DATE)) == [
        name.removeprefix(f"{DAY}/") for name in expected
    ]


@pytest.mark.parametrize("layout", ["day_folder", "whole_folder"])
def test_a_folder_with_an_impossible_name_in_it_is_a_row_with_the_reason(
    s3: S3Source, layout: Layout
) -> None:
    names = ("a.mp4", "sub/ok.mp4", "sub/x/lost.mp4", "sub/x//y.mp4", "z/b.mp4", ".h//c.mp4")
    put_empty(s3, [f"{DAY}/{name}" for name in names])
    root = f"{DAY}/" if layout == "whole_folder" else ""
    samples = [*source_of(s3, root, layout=layout).samples(DATE)]
    found = {f"{sample.sample_id}": sample.videos[0] for sample in samples}
    expected = [f"{DAY}/a.mp4", f"{DAY}/sub/ok.mp4", f"{DAY}/sub/x", f"{DAY}/z/b.mp4"]
    assert [*found] == [name.removeprefix(root) for name in expected]
    (faulty,) = [video for video in found.values() if video.fault is not None]
    assert faulty.path == f"{s3.url}/{DAY}/sub/x"
    assert faulty.fault is not None
    assert faulty.fault.status == Status.UNREADABLE
    assert f"an object there, '{DAY}/sub/x//', has an empty part" in faulty.fault.message


@pytest.mark.parametrize("name", ["//x.mp4", "/a\x01.mp4", "/../x.mp4"])
def test_an_impossible_name_directly_in_a_days_folder_is_told_with_what_to_do(
    s3: S3Source, tmp_path: Path, name: str
) -> None:
    put_empty(s3, [f"{DAY}{name}", f"{DAY}/a.mp4"])
    result = materialize_day(source_of(s3), tmp_path, assets=[video_manifest], raise_on_error=False)
    texts = [str(event.event_specific_data) for event in result.all_events]
    assert any("cannot be read: the name of an object there" in text for text in texts)
    assert any("What to do: rename that object" in text for text in texts)
    assert not [event for event in result.all_events if event.is_step_up_for_retry]


def test_a_flat_place_does_not_mind_impossible_names_below_it(s3: S3Source) -> None:
    put_empty(s3, ["flat/a.mp4", "flat/deep/b//c.mp4"])
    today = dt.datetime.now(dt.UTC).date()
    assert ids(source_of(s3, "flat", layout="modified_date").samples(today)) == ["a.mp4"]


def test_an_object_that_stands_for_a_folder_is_no_video(s3: S3Source) -> None:
    put_empty(s3, [f"{DAY}/clips.mp4/a.mp4"])
    s3.client.put_object(Bucket=s3.bucket, Key=f"{DAY}/clips.mp4/", Body=b"")
    assert ids(source_of(s3).samples(DATE)) == [f"{DAY}/clips.mp4/a.mp4"]


def test_a_day_of_thousands_of_objects_is_listed_in_pages_and_no_object_is_asked_for(
    s3: S3Source,
) -> None:
    names = [f"{DAY}/{number:05}.mp4" for number in range(2500)]
    put_empty(s3, names)
    source = source_of(s3)
    s3.answered.clear()
    assert ids(source.samples(DATE)) == names
    assert (s3.requests("GET"), s3.requests("HEAD")) == (3, 1)
    before = source.state(DATE)
    assert before.samples == 2500
    assert source.state(DATE) == before
    put_empty(s3, [f"{DAY}/late.mp4"])
    s3.answered.clear()
    assert source.state(DATE).fingerprint != before.fingerprint
    assert {one.path for one in s3.answered} == {f"/{s3.bucket}", f"/{s3.bucket}/{DAY}.jsonl"}
    with pytest.raises(TimeoutError, match="can be listed in 0 seconds"):
        source.state(DATE, within_seconds=0)


def test_the_sensor_sees_that_a_day_of_objects_has_changed(
    folder: Path, s3: S3Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide = folder / DAY / "slide.mp4"
    s3.put(slide, f"{watched.DAY}/a.mp4")
    source = source_of(s3)

    def tick() -> dg.SensorResult | dg.SkipReason:
        resources = {"video_source": source}
        result = late_videos(dg.build_sensor_context(instance, resources=resources))
        assert isinstance(result, dg.SensorResult | dg.SkipReason)
        return result

    with dg.instance_for_test() as instance:
        materialize_day(
            source, tmp_path, assets=[video_manifest], day=watched.DAY, instance=instance
        )
        assert "1 day looked at, none changed" in str(tick())
        s3.put(slide, f"{watched.DAY}/b.mp4")
        assert f"still being copied: {watched.DAY}" in str(tick())
        monkeypatch.setattr("ocr_assets.late_videos.SETTLE_SECONDS", 0)
        result = tick()
        assert isinstance(result, dg.SensorResult)
        assert [one.partition_key for one in result.run_requests or []] == [watched.DAY]


def test_a_flat_place_is_split_by_the_day_of_modification(s3: S3Source) -> None:
    put_empty(s3, ["flat/a.mp4", "flat/b.mp4", "flat/deep/c.mp4"])
    source = source_of(s3, "flat", layout="modified_date")
    today = dt.datetime.now(dt.UTC).date()
    assert ids(source.samples(today)) == ["a.mp4", "b.mp4"]
    assert ids(source.samples(today - dt.timedelta(days=1))) == []


def test_a_jsonl_names_objects_by_paths_or_urls_within_the_source(
    folder: Path, s3: S3Source, tmp_path: Path
) -> None:
    for prefix in ("root/clips/", "elsewhere/"):
        s3.put(folder / DAY / "slide.mp4", f"{prefix}slide.mp4")
    named = {
        "clips/slide.mp4": None,
        f"{s3.url}/root/clips/slide.mp4": None,
        "clips/../clips/./slide.mp4": None,
        "clips/none.mp4": Status.MISSING,
        "../elsewhere/slide.mp4": Status.OUTSIDE_SOURCE,
        f"{s3.url}/elsewhere/slide.mp4": Status.OUTSIDE_SOURCE,
        f"{s3.url}/root/../elsewhere/slide.mp4": Status.OUTSIDE_SOURCE,
        "../../slide.mp4": Status.OUTSIDE_SOURCE,
        "s3://another-bucket/slide.mp4": Status.OUTSIDE_SOURCE,
        "s3:///slide.mp4": Status.OUTSIDE_SOURCE,
        "s3://[half/slide.mp4": Status.OUTSIDE_SOURCE,
        "/etc/hostname": Status.BAD_SAMPLE,
        "http://127.0.0.1/slide.mp4": Status.BAD_SAMPLE,
        "file:///etc/hostname": Status.BAD_SAMPLE,
        "a\0b.mp4": Status.BAD_SAMPLE,
        "": Status.NOT_A_FILE,
        "clips/": Status.NOT_A_FILE,
    }
    lines = [json.dumps({"videos": [name], "text": "t"}) for name in named]
    (tmp_path / "day.jsonl").write_text("\n".join([*lines, "no JSON"]))
    s3.put(tmp_path / "day.jsonl", f"root/{DAY}.jsonl")
    put_empty(s3, [f"root/{DAY}/passed over.mp4"])
    lenient = {"assets": [video_manifest], "raise_on_error": False}
    materialize_day(source_of(s3, "root"), tmp_path / "data", **lenient)
    found = rows(tmp_path / "data", "video_manifest")
    assert [row["status"] for row in found] == [
        *(status or Status.OK for status in named.values()),
        Status.BAD_SAMPLE,
    ]
    assert [row["sample_id"] for row in found][:2] == [f"{DAY}.jsonl:1", f"{DAY}.jsonl:2"]
    assert len({row["video_id"] for row in found[:3]}) == 1
    allowed = source_of(s3, "root", allow_outside_source=True)
    s3.answered.clear()
    materialize_day(allowed, tmp_path / "data", **lenient)
    read = {row["path"] for row in rows(tmp_path / "data", "video_manifest") if not row["error"]}
    assert read == {f"{s3.url}/root/clips/slide.mp4", f"{s3.url}/elsewhere/slide.mp4"}
    # What was read before is asked for its version alone.
    assert s3.requests("GET", "root/clips/slide.mp4") == 0


def test_a_jsonl_in_a_folder_may_name_objects_if_it_may_name_what_is_outside(
    folder: Path, s3: S3Source, tmp_path: Path
) -> None:
    url = s3.put(folder / DAY / "slide.mp4", "slide.mp4")
    (tmp_path / f"{DAY}.jsonl").write_text(json.dumps({"videos": [url]}))
    for allow, status in ((False, Status.OUTSIDE_SOURCE), (True, Status.OK)):
        source = VideoSource(
            root=str(tmp_path), storage_options=s3.options, allow_outside_source=allow
        )
        run(source, tmp_path / "data") if allow else materialize_day(
            source, tmp_path / "data", assets=[video_manifest]
        )
        (row,) = rows(tmp_path / "data", "video_manifest")
        assert row["status"] == status
    (sample,) = rows(tmp_path / "data", "filtered_dataset")
    assert (sample["verdict"], sample["paths"]) == ("drop", [url])


def test_a_source_that_is_not_there_or_is_closed_says_so(s3: S3Source) -> None:
    put_empty(s3, ["p/clip.txt"])
    for layout, said in {
        "auto": f"{s3.url}/p has no {DAY}.jsonl or {DAY}/",
        "day_folder": f"{s3.url}/p has no {DAY}/",
        "jsonl": f"{s3.url}/p has no {DAY}.jsonl",
    }.items():
        with pytest.raises(SourceMissingError, match=said):
            source_of(s3, "p", layout=layout).samples(DATE)
    with pytest.raises(SourceMissingError, match=f"{s3.url}/q has no objects"):
        source_of(s3, "q", layout="whole_folder").samples(DATE)
    gone = VideoSource(root="s3://no-such-bucket", storage_options=s3.options)
    with pytest.raises(ObjectStorageError, match="is in a bucket that does not exist"):
        gone.samples(DATE)
    assert cannot_be_watched(source_of(s3, "p")) is None
    assert cannot_be_watched(source_of(s3, "q")) == f"the source {s3.url}/q is empty"
    s3.fails = lambda *_: 403
    with pytest.raises(
        ObjectStorageError, match="may not be used with these credentials"
    ) as refused:
        source_of(s3, "p").samples(DATE)
    s3.fails = lambda *_: 500
    s3.options["max_retries"] = "1"
    with pytest.raises(OSError, match="answers with an error") as down:
        source_of(s3, "p").samples(DATE)
    wrong = cannot_be_watched(source_of(s3, "p"))
    assert wrong is not None
    assert f"the source {s3.url}/p answers with an error (500 Told500)" in wrong
    ensure_secret_is_not_in(refused.value, down.value, wrong)


def test_a_run_of_a_closed_source_fails_with_what_to_do_and_without_the_key(
    s3: S3Source, tmp_path: Path
) -> None:
    s3.fails = lambda *_: 403
    result = materialize_day(source_of(s3), tmp_path, raise_on_error=False)
    assert not result.success
    texts = [str(event.event_specific_data) for event in result.all_events]
    assert any("give them the rights that README lists" in text for text in texts)
    ensure_secret_is_not_in(*texts)


def test_without_the_packages_for_it_a_source_in_an_object_storage_says_how_to_install_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("obstore", "obstore.store", "obstore.exceptions"):
        monkeypatch.setitem(sys.modules, module, None)
    source = VideoSource(root="s3://never-opened/videos")
    how = r"pip install 'ocr-assets\[object-storage\]'"
    with pytest.raises(ObjectStorageUnavailableError, match=how):
        source.samples(DATE)
    result = materialize_day(source, tmp_path, raise_on_error=False)
    assert any(
        "do that where the steps run" in str(event.event_specific_data)
        for event in result.all_events
    )


def test_without_the_packages_a_manifest_on_disk_that_names_objects_says_how_to_install_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "videos").mkdir()
    line = json.dumps({"videos": ["s3://never-opened/clip.mp4"]})
    (tmp_path / "videos" / f"{DAY}.jsonl").write_text(line)
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['obstore'] = None")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)  # of the decode workers
    source = VideoSource(root=str(tmp_path / "videos"), allow_outside_source=True)
    result = materialize_day(source, tmp_path / "data", raise_on_error=False)
    texts = [str(event.event_specific_data) for event in result.all_events]
    assert any("`pip install 'ocr-assets[object-storage]'` installs" in text for text in texts)
    assert not any("a bug" in text for text in texts)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"root": "https://example.com/videos"}, "neither a folder nor in an object storage"),
        ({"root": "s3://"}, "names no bucket"),
        ({"storage_options": {"aws_secret_access_key": "hush"}}, "AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_a_source_that_cannot_be_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        VideoSource(**values)
    assert "hush" not in str(raised.value)


@pytest.fixture(scope="module")
def exported(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[S3Source, Path]]:
    data = tmp_path_factory.mktemp("exported")
    with s3_server() as source:
        source.put_folder(folder)
        run(source_of(source), data)
        yield source, data


def export(s3: S3Source, data: Path, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setenv("OCR_ASSETS_VIDEO_SOURCE_STORAGE_OPTIONS", json.dumps(s3.options))
    return main(["export", "--data", str(data), *map(str, arguments)])


def test_an_export_copies_objects_and_finds_its_copies_again(
    exported: tuple[S3Source, Path],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = ("--format", "jsonl", "--out", tmp_path / "kept.jsonl", "--force")
    copy = ("--copy", tmp_path / "copies")
    assert export(*exported, monkeypatch, *out, *copy) == 0
    videos = [
        Path(path)
        for line in (tmp_path / "kept.jsonl").read_text().splitlines()
        for path in json.loads(line)["videos"]
    ]
    assert len(videos) == len(CLIPS)
    for path in videos:
        name = path.relative_to(tmp_path / "copies")
        assert path.read_bytes() == (folder / name).read_bytes()
    capsys.readouterr()
    assert export(*exported, monkeypatch, *out, *copy) == 0
    assert f"0 copied, {len(CLIPS)} there already" in capsys.readouterr().out


def test_an_export_leaves_out_objects_that_are_gone_or_have_changed(
    exported: tuple[S3Source, Path],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    s3, data = exported
    s3.fails = lambda _, path: 404 if path.endswith("clip.webm") else None
    s3.put(folder / DAY / "slide.mp4", f"{DAY}/clip.mp4")
    out = ("--format", "jsonl", "--out", tmp_path / "kept.jsonl", "--copy", tmp_path / "copies")
    try:
        assert export(s3, data, monkeypatch, *out) == 1
    finally:
        s3.fails = lambda _, path: None
        s3.put(folder / DAY / "clip.mp4", f"{DAY}/clip.mp4")
    said = capsys.readouterr().err
    assert f"{s3.url}/{DAY}/clip.mp4 has changed since it was judged" in said
    assert f"{s3.url}/{DAY}/deep/clip.webm cannot be read: No such file or directory" in said
    assert len((tmp_path / "kept.jsonl").read_text().splitlines()) == len(CLIPS) - 2


def test_an_export_from_a_storage_that_fails_leaves_nothing_out_and_fails(
    exported: tuple[S3Source, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    s3, data = exported
    out = ("--format", "jsonl", "--out", tmp_path / "kept.jsonl", "--copy", tmp_path / "copies")
    s3.fails = lambda _, path: 503 if path.endswith("clip.webm") else None
    options = s3.options
    s3.options = {**options, "max_retries": "1"}
    try:
        assert export(s3, data, monkeypatch, *out) == 1
    finally:
        s3.fails, s3.options = lambda _, path: None, options
    said = capsys.readouterr().err
    assert f"{s3.url}/{DAY}/deep/clip.webm answers with an error (503 Told503)" in said
    assert "left out" not in said
    assert not (tmp_path / "kept.jsonl").exists()


def test_links_to_objects_are_refused_and_shards_hold_them(
    exported: tuple[S3Source, Path],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("webdataset")
    out = ("--format", "jsonl", "--out", tmp_path / "kept.jsonl", "--link", tmp_path / "links")
    assert export(*exported, monkeypatch, *out) != 0
    assert "is in an object storage, and no link leads there; --copy downloads" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "links").exists()
    shards = ("--format", "webdataset", "--out", tmp_path / "shards")
    assert export(*exported, monkeypatch, *shards) == 0
    import tarfile

    with tarfile.open(tmp_path / "shards" / "000000.tar") as tar:
        members = [tar.extractfile(one) for one in tar.getmembers() if ".json" not in one.name]
        contents = {member.read() for member in members if member is not None}
    assert contents == {(folder / DAY / name).read_bytes() for name in CLIPS}


def test_the_command_runs_the_latest_day_that_a_bucket_has(
    folder: Path,
    s3: S3Source,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for day, name in itertools.product((DAY, NEXT_DAY), ("slide.mp4",)):
        s3.put(folder / DAY / name, f"videos/{day}/{name}")
    monkeypatch.setenv("OCR_ASSETS_VIDEO_SOURCE_STORAGE_OPTIONS", json.dumps(s3.options))
    monkeypatch.setenv("OCR_ASSETS_EASYOCR_DEVICE", "cpu")
    from tests.test_cli import ocr_assets

    arguments = ("--data", tmp_path / "data", "--json", "--max-area-ratio", "0.2")
    done = ocr_assets("run", "--source", f"{s3.url}/videos", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["date"], summary["dropped"]) == (NEXT_DAY, 1)
    assert summary["samples"][0]["videos"] == [f"{s3.url}/videos/{NEXT_DAY}/slide.mp4"]
    done = ocr_assets("run", "--source", "s3://no-such-bucket", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "--source s3://no-such-bucket: is in a bucket that does not exist" in done.stderr
