import datetime as dt
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)

from ocr_assets import late_videos as logic
from ocr_assets import settings
from ocr_assets.assets.sampled_frames import sampled_frames
from ocr_assets.assets.video_manifest import video_manifest
from ocr_assets.automation import daily_job
from ocr_assets.definitions import defs
from tests.clips import numbered, write_video
from tests.watched import DATE, DAY, OTHER_DAY, Watched, aged, at_noon, days_ago

ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("ocr_assets"), "__repository__"),
    "daily_job",
)


@dg.job
def of_another_project() -> None:
    pass


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", numbered(3))


@pytest.fixture
def watched(tmp_path: Path, clip: Path) -> Iterator[Watched]:
    (tmp_path / "videos").mkdir()
    with dg.instance_for_test() as instance:
        yield Watched(instance, tmp_path / "videos", clip)


def test_the_sensor_runs_the_daily_job_and_is_off() -> None:
    sensor = defs.resolve_sensor_def("late_videos")
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
    assert sensor.minimum_interval_seconds == 300
    assert sensor.job_name == daily_job.name
    assert sensor.description


def test_days_that_did_not_change_are_left_alone(watched: Watched) -> None:
    for day in (DAY, OTHER_DAY):
        watched.put(f"{day}/a.mp4")
        watched.materialize(day)
    assert watched.why_not() == "2 days looked at, none changed"


def test_a_day_that_was_never_tried_is_not_requested(watched: Watched) -> None:
    watched.put(f"{DAY}/a.mp4")
    assert watched.why_not() == "0 days looked at, none changed"


@pytest.mark.parametrize("change", ["added", "added deeper", "replaced", "touched", "removed"])
def test_a_changed_day_is_requested_once(watched: Watched, change: str) -> None:
    video = watched.put(f"{DAY}/a.mp4")
    for path in (f"{DAY}/b.mp4", f"{OTHER_DAY}/a.mp4"):
        watched.put(path)
    watched.materialize(DAY)
    watched.materialize(OTHER_DAY)
    match change:
        case "added":
            watched.put(f"{DAY}/c.mp4")
        case "added deeper":
            watched.put(f"{DAY}/camera/evening/c.mp4")
        case "replaced":
            then = video.stat().st_mtime_ns
            video.write_bytes(video.read_bytes() + b"more")
            os.utime(video, ns=(then, then))
        case "touched":
            aged(video, 1800)
        case "removed":
            video.unlink()

    result = watched.tick()
    (request,) = result.run_requests or []
    assert request.partition_key == DAY
    assert str(request.run_key).startswith(f"{DAY}:{watched.source.state(DATE).fingerprint}:")
    assert request.tags[settings.GPU_POOL_TAG] == settings.gpu_pool()
    assert request.tags["ocr_assets/reason"] == "late_videos"
    # Until the run has begun, the same request again; Dagster knows it by its key.
    (again,) = watched.tick(result.cursor).run_requests or []
    assert again.run_key == request.run_key

    watched.materialize(DAY)
    assert watched.why_not(result.cursor) == "2 days looked at, none changed"


def test_each_change_has_a_key_of_its_own(watched: Watched) -> None:
    watched.put(f"{DAY}/a.mp4")
    watched.materialize()
    keys = set()
    for name in ("b.mp4", "c.mp4"):
        watched.put(f"{DAY}/{name}")
        (request,) = watched.tick().run_requests or []
        keys.add(request.run_key)
    assert len(keys) == 2


@pytest.mark.parametrize("layout", ["auto", "modified_date"])
def test_a_day_whose_videos_are_all_gone_is_left_as_it_is(
    watched: Watched, layout: settings.Layout
) -> None:
    watched = replace(watched, layout=layout)
    video = at_noon(watched.put("a.mp4" if layout == "modified_date" else f"{DAY}/a.mp4"))
    watched.put(f"{OTHER_DAY}/b.mp4")  # so that the source is not empty
    watched.materialize()
    video.unlink()
    assert watched.why_not() == (
        f"1 day looked at, 1 changed; without any video now, to be run by hand if that is meant: "
        f"{DAY}"
    )


def test_a_change_that_was_undone_and_comes_again_has_another_key(watched: Watched) -> None:
    watched.put(f"{DAY}/a.mp4")
    watched.materialize()
    late = watched.put(f"{DAY}/b.mp4")
    (first,) = watched.tick().run_requests or []
    watched.materialize()
    away = late.rename(watched.root / "b.mp4")
    (_,) = watched.tick().run_requests or []
    watched.materialize()
    away.rename(late)
    (again,) = watched.tick().run_requests or []
    assert again.run_key != first.run_key


@pytest.mark.parametrize("layout", ["auto", "jsonl", "modified_date"])
def test_tables_kept_under_the_source_are_no_change(
    watched: Watched, layout: settings.Layout
) -> None:
    watched = replace(watched, layout=layout)
    at_noon(watched.put("a.mp4" if layout == "modified_date" else f"{DAY}/a.mp4"))
    if layout == "jsonl":
        watched.put_lines({"videos": [f"{DAY}/a.mp4"]})
    for _ in range(2):
        watched.materialize(data=watched.root / "data", assets=(video_manifest, sampled_frames))
        kept = watched.root / "data" / settings.kept_jsonl(DATE)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps({"videos": []}) + "\n")
        assert watched.why_not() == "1 day looked at, none changed"


def by_the_daily_job(watched: Watched) -> None:
    watched.run_in_vain(partition_key=DAY)


def by_hand(watched: Watched) -> None:
    watched.run_in_vain("__ASSET_JOB", asset_selection=[video_manifest.key], partition_key=DAY)


def by_a_backfill(watched: Watched) -> None:
    days = {"start": (DATE - dt.timedelta(days=1)).isoformat(), "end": DAY}
    tags = {f"dagster/asset_partition_range_{end}": day for end, day in days.items()}
    watched.run_in_vain("__ASSET_JOB", asset_selection=[video_manifest.key], tags=tags)


@pytest.mark.parametrize("tried", [by_the_daily_job, by_hand, by_a_backfill])
def test_a_day_that_failed_for_want_of_videos_is_requested_when_they_have_come(
    watched: Watched, tried: Callable[[Watched], None]
) -> None:
    watched.put(f"{OTHER_DAY}/a.mp4")  # never tried
    tried(watched)
    looked_at = "2 days" if tried is by_a_backfill else "1 day"
    assert watched.why_not() == f"{looked_at} looked at, none changed"

    watched.put(f"{DAY}/a.mp4")
    assert watched.requested() == [DAY]
    watched.materialize(DAY)
    assert watched.why_not() == f"{looked_at} looked at, none changed"


def test_a_day_whose_folder_has_gone_is_not_requested(watched: Watched) -> None:
    for day in (DAY, OTHER_DAY):
        watched.put(f"{day}/a.mp4")
    watched.materialize(DAY)
    shutil.rmtree(watched.root / DAY)
    assert watched.why_not() == "1 day looked at, none changed"


@pytest.mark.parametrize("age", [0, 30, -5])
def test_a_day_waits_while_a_file_is_being_copied(watched: Watched, age: int) -> None:
    watched.put(f"{DAY}/a.mp4")
    watched.materialize()
    video = aged(watched.put(f"{DAY}/b.mp4"), age)
    assert watched.why_not() == f"1 day looked at, 1 changed; still being copied: {DAY}"
    aged(video, logic.SETTLE_SECONDS + 1)
    assert watched.requested() == [DAY]


def test_a_file_from_the_far_future_does_not_hold_its_day_back(watched: Watched) -> None:
    watched.put(f"{DAY}/a.mp4")
    watched.materialize()
    aged(watched.put(f"{DAY}/b.mp4"), -1e8)
    assert watched.requested() == [DAY]


@pytest.mark.parametrize("days", ["one day", "several days"])
def test_a_day_with_a_run_queued_or_in_progress_is_skipped(watched: Watched, days: str) -> None:
    watched.put(f"{DAY}/a.mp4")
    watched.materialize()
    watched.put(f"{DAY}/b.mp4")
    span = {
        "dagster/asset_partition_range_start": days_ago(8).isoformat(),
        "dagster/asset_partition_range_end": DAY,
    }
    tags = {"dagster/partition": DAY} if days == "one day" else span
    for key in ("us-east", "2026-01-31|a"):  # runs of other projects in the same instance
        watched.instance.create_run_for_job(
            of_another_project, tags={"dagster/partition": key}, status=dg.DagsterRunStatus.STARTED
        )
    for status in ("NOT_STARTED", "QUEUED", "STARTING", "STARTED", "CANCELING"):
        run = watched.instance.create_run_for_job(
            defs.resolve_job_def("daily_job"),
            tags=tags,
            status=dg.DagsterRunStatus[status],
            remote_job_origin=ORIGIN,
            job_code_origin=dg.reconstructable(of_another_project).get_python_origin(),
        )
        assert watched.why_not() == f"1 day looked at, 1 changed; queued or in progress: {DAY}"
        watched.instance.report_run_canceled(run)
        assert watched.requested() == [DAY]


def test_what_was_made_from_another_source_is_left_alone(watched: Watched, tmp_path: Path) -> None:
    watched.put(f"{DAY}/a.mp4")
    watched.materialize()
    for other in (
        replace(watched, root=tmp_path / "others"),
        replace(watched, layout="day_folder"),
    ):
        other.put(f"{DAY}/b.mp4")
        assert other.why_not() == "0 days looked at, none changed"


def test_a_materialisation_without_a_fingerprint_is_left_alone(watched: Watched) -> None:
    watched.put(f"{DAY}/a.mp4")
    watched.instance.report_runless_asset_event(
        dg.AssetMaterialization(video_manifest.key, partition=DAY, metadata={"samples": 1})
    )
    assert watched.why_not() == "0 days looked at, none changed"


def test_of_several_materialisations_the_latest_counts(watched: Watched) -> None:
    watched.put(f"{DAY}/a.mp4")
    watched.materialize()
    late = watched.put(f"{DAY}/b.mp4")
    watched.materialize()
    late.unlink()
    assert watched.requested() == [DAY]


def test_only_days_that_have_ended_and_lie_in_the_window_are_looked_at(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = days_ago(0).isoformat()
    for day in (today, DAY, OTHER_DAY):
        watched.put(f"{day}/a.mp4")
        watched.materialize(day)
        watched.put(f"{day}/b.mp4")
    assert watched.requested() == [OTHER_DAY, DAY]
    monkeypatch.setenv(settings.LATE_DAYS_VARIABLE, "4")
    assert watched.requested() == [DAY]
    monkeypatch.delenv(settings.LATE_DAYS_VARIABLE)
    monkeypatch.setenv(settings.FIRST_DATE_VARIABLE, DAY)
    assert watched.requested() == [DAY]
    monkeypatch.setenv(settings.FIRST_DATE_VARIABLE, today)
    assert watched.why_not() == "0 days looked at, none changed"


def test_a_source_without_days_is_said_to_have_none(watched: Watched) -> None:
    said = replace(watched, layout="whole_folder").why_not()
    assert said == "the layout whole_folder has no days, so none of them can be late"


def test_a_source_that_is_not_there_is_named(watched: Watched) -> None:
    gone = watched.root / "gone"
    assert replace(watched, root=gone).why_not() == f"the source {gone} is not a folder"


def test_a_disk_that_is_not_mounted_does_not_count_as_videos_removed(watched: Watched) -> None:
    watched = replace(watched, layout="modified_date")
    video = at_noon(watched.put("a.mp4"))
    watched.materialize()
    video.unlink()
    assert watched.why_not() == f"the source {watched.root} is empty"


@pytest.mark.parametrize("layout", ["auto", "jsonl"])
def test_a_changed_line_or_video_of_a_jsonl_is_a_change(
    watched: Watched, layout: settings.Layout
) -> None:
    watched = replace(watched, layout=layout)
    video = watched.put("clips/a.mp4")
    first: dict[str, Any] = {"videos": ["clips/a.mp4", "clips/b.mp4"], "text": "a caption"}
    odd = {"videos": [], "text": "\ud800"}
    jsonl = watched.put_lines(first, odd)
    watched.materialize()
    watched.put_lines(first, odd)  # written again, but the same
    watched.put("clips/of no line.mp4")
    assert watched.why_not() == "1 day looked at, none changed"
    first = {**first, "text": "another caption"}
    changes: list[Callable[[], object]] = [
        lambda: watched.put_lines(first, odd),
        lambda: watched.put_lines(first, odd, {"videos": []}),
        lambda: aged(video, 1800),
        lambda: watched.put("clips/b.mp4"),
        lambda: video.unlink(),
    ]
    for change in changes:
        change()
        assert watched.requested() == [DAY]
        aged(jsonl, 5)
        assert f"still being copied: {DAY}" in watched.why_not()
        watched.materialize()
        assert watched.why_not() == "1 day looked at, none changed"
        aged(jsonl)


def test_days_are_looked_at_in_rotation_when_time_is_short(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(settings.LATE_DAYS_VARIABLE, "8")
    monkeypatch.setattr(logic, "TICK_SECONDS", 0)
    days = [days_ago(back).isoformat() for back in range(8, 0, -1)]
    late = [days[place] for place in (0, 3, 5)]
    for day in late:
        watched.put(f"{day}/a.mp4")
        watched.materialize(day)
        watched.put(f"{day}/b.mp4")
    cursors: list[str | None] = [None]
    found = []
    for _ in range(9):
        result = watched.tick(cursors[-1])
        found += [request.partition_key for request in result.run_requests or []]
        cursors.append(result.cursor)
    assert cursors == [None, *days, days[0]]
    assert found == [*late, late[0]]


def test_the_reason_says_how_many_days_the_next_tick_begins_with(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.put(f"{DAY}/a.mp4")
    watched.materialize()
    monkeypatch.setattr(logic, "TICK_SECONDS", 0)
    assert watched.why_not((DATE - dt.timedelta(days=1)).isoformat()) == (
        "1 day looked at, none changed; out of time, the next tick begins with the 29 others"
    )


def test_with_time_enough_all_days_are_looked_at_wherever_the_cursor_is(watched: Watched) -> None:
    for day in (DAY, OTHER_DAY):
        watched.put(f"{day}/a.mp4")
        watched.materialize(day)
    for cursor in (None, DAY, OTHER_DAY, "1999-01-01", "2999-01-01", "nonsense"):
        assert watched.why_not(cursor) == "2 days looked at, none changed"


def test_a_day_that_cannot_be_read_does_not_stop_the_others(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for day in (DAY, OTHER_DAY):
        watched.put(f"{day}/a.mp4")
        watched.materialize(day)
    scandir = os.scandir

    def refuse(path: Any) -> Any:  # permissions do not stop root, who may run the tests
        if Path(path) == watched.root / OTHER_DAY:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    said = f"1 day looked at, none changed; cannot be looked at: {OTHER_DAY}"
    assert watched.why_not() == said
    assert f"{OTHER_DAY} cannot be looked at: [Errno 13] Permission" in capfd.readouterr().err
    watched.put(f"{DAY}/b.mp4")
    assert watched.requested() == [DAY]


def test_a_day_of_too_many_samples_does_not_hold_the_tick_up(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.put(f"{DAY}/a.mp4")
    watched.materialize()
    monkeypatch.setattr(logic, "LOOK_SECONDS", 0)
    assert watched.why_not() == f"0 days looked at, none changed; cannot be looked at: {DAY}"


def test_no_video_is_opened_to_tell_that_it_changed(watched: Watched) -> None:
    (watched.root / DAY).mkdir()
    os.mkfifo(watched.root / DAY / "pipe.mp4")  # whoever opens it waits for ever
    (watched.root / DAY / "outside.mp4").symlink_to("/dev/zero")
    state = watched.source.state(DATE)
    assert state.samples == 2
    assert state.newest is None


def test_a_tick_imports_nothing_heavy(watched: Watched) -> None:
    watched.put(f"{DAY}/a.mp4")
    program = f"""
import sys, datetime, dagster as dg
from ocr_assets.automation import late_videos
from ocr_assets.resources.video_source import VideoSource
source = VideoSource(root={str(watched.root)!r})
source.state(datetime.date.fromisoformat({DAY!r}))
with dg.DagsterInstance.ephemeral() as instance:
    late_videos(dg.build_sensor_context(instance, resources={{"video_source": source}}))
print(*[name for name in ("torch", "easyocr", "av", "ray") if name in sys.modules])
"""
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == []
