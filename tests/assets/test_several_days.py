"""One run of several days, as a backfill makes it, and what a day that fails does to the others."""

import datetime as dt
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ocr_assets.assets.coverage_report import coverage_report
from ocr_assets.assets.failures import retry_run_after_fault
from ocr_assets.checks import all_checks
from ocr_assets.ocr.boxes import TextBox
from ocr_assets.ocr.canvas import Picture
from ocr_assets.ocr.reader_pool import ReaderPool
from ocr_assets.ocr.text_detector import load_text_detector
from ocr_assets.resources.compute import ComputeResource
from ocr_assets.resources.decoder import VideoDecoder
from ocr_assets.resources.easyocr import EasyOCRResource
from ocr_assets.resources.tables import Tables
from ocr_assets.resources.video_source import VideoSource
from ocr_assets.settings import (
    AFTER_FAULT_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    RETRY_RUN_TAG,
)
from tests.clips import numbered, write_video
from tests.fake_nvml import GIB, FakeNvml
from tests.gpu.fake_detector import FakeLoader
from tests.own_pool import POOLS, OwnPool
from tests.pipeline import ASSETS, rows

ALL_ASSETS = [*ASSETS, coverage_report]
DAYS = [f"2026-02-0{number}" for number in range(1, 6)]
FAULTS: list[str] = []


class FlakySource(VideoSource):
    """A source on storage that fails as often as there are faults."""

    def samples(self, date: dt.date, within_seconds: float | None = None) -> Iterator[Any]:
        if FAULTS:
            raise OSError(errno.EIO, FAULTS.pop())
        return super().samples(date, within_seconds)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[str]:
    name = str(tmp_path)
    POOLS[name] = ReaderPool(load_text_detector)
    yield name
    POOLS.pop(name).close_idle()


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    for number, day in enumerate(DAYS):
        (tmp_path / "videos" / day).mkdir(parents=True)
        pictures = numbered(64)[10 * number : 11 * number + 2]  # other ones each day
        write_video(tmp_path / "videos" / day / "clip.mp4", pictures)
    return tmp_path / "videos"


def materialize_days(
    videos: Path,
    data: Path,
    instance: dg.DagsterInstance,
    easyocr: EasyOCRResource | None = None,
    source: VideoSource | None = None,
    first: str = DAYS[0],
    last: str = DAYS[-1],
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [*ALL_ASSETS, *all_checks],
        instance=instance,
        resources={
            "video_source": source or VideoSource(root=str(videos)),
            "compute": ComputeResource(),
            "decoder": VideoDecoder(),
            "tables": Tables(root=str(data)),
            "easyocr": easyocr or EasyOCRResource(device="cpu"),
        },
        run_config={"ops": {"sampled_frames": {"config": {"frame_sample_num": 1}}}},
        tags={RANGE_START_TAG: first, RANGE_END_TAG: last},
        raise_on_error=False,
    )


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data.user_failure_data
    assert data is not None
    return str(data.description)


def test_five_days_in_one_run_load_one_model_and_each_has_its_own_numbers(
    videos: Path, tmp_path: Path, bench: str
) -> None:
    data = tmp_path / "data"
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize_days(videos, data, instance, OwnPool(bench=bench, device="cpu"))
        assert result.success
        assert POOLS[bench].load_count == 1
        for asset in ALL_ASSETS:
            events = result.asset_materializations_for_node(asset.key.to_user_string())
            assert [event.partition for event in events] == DAYS
        frames = result.asset_materializations_for_node("ocr_boxes")
        assert [event.metadata["frames"].value for event in frames] == [1] * 5
        for check in all_checks:
            history = instance.event_log_storage.get_asset_check_execution_history(
                next(iter(check.check_keys)), limit=10
            )
            assert {record.partition for record in history} == {*DAYS, None}
            assert {record.status.value for record in history} == {"SUCCEEDED"}
    for day in DAYS:
        (row,) = rows(data, "filtered_dataset", day)
        assert row["verdict"] == "keep"


def test_a_day_that_fails_does_not_keep_the_others_and_says_what_to_do(
    videos: Path, tmp_path: Path
) -> None:
    (videos / DAYS[1] / "clip.mp4").unlink()
    (videos / DAYS[1]).rmdir()
    data = tmp_path / "data"
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize_days(videos, data, instance)
        done = instance.get_materialized_partitions(dg.AssetKey("video_manifest"))
    assert not result.success
    assert done == {DAYS[0], *DAYS[2:]}
    said = failure(result)
    assert said.startswith("1 of 5 days failed; those that were done stay.\n2026-02-02: the source")
    assert "What to do: put the day's videos there" in said
    for day in (DAYS[0], *DAYS[2:]):
        assert len(rows(data, "video_manifest", day)) == 1
    # What follows would not know what to do with the day, so it waits for it.
    assert not (data / "sampled_frames").exists()


def test_a_fault_of_the_storage_is_retried_after_a_pause(videos: Path, tmp_path: Path) -> None:
    FAULTS[:] = ["the server does not answer"]
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize_days(
            videos,
            tmp_path / "data",
            instance,
            source=FlakySource(root=str(videos)),
            last=DAYS[0],
        )
    assert result.success
    (retry,) = [event for event in result.all_events if event.is_step_up_for_retry]
    assert retry.step_key == "video_manifest"
    assert retry.step_retry_data.seconds_to_wait is not None
    assert retry.step_retry_data.seconds_to_wait > 0


def test_a_step_that_is_tried_again_does_not_detect_the_days_that_are_done(
    fake_nvml: FakeNvml, videos: Path, tmp_path: Path, bench: str
) -> None:
    fake_nvml.add_gpu(24 * GIB)
    seen: list[int] = []

    def find(picture: Picture) -> list[TextBox]:
        seen.append(len(seen))
        if len(seen) == 2:
            raise OSError(errno.EIO, "the server does not answer")
        return []

    POOLS[bench] = ReaderPool(FakeLoader(fake_nvml.state, find=find))
    with dg.DagsterInstance.ephemeral() as instance:
        easyocr = OwnPool(bench=bench, state_directory=str(tmp_path / "state"))
        result = materialize_days(videos, tmp_path / "data", instance, easyocr, last=DAYS[1])
    assert result.success
    (retry,) = [event for event in result.all_events if event.is_step_up_for_retry]
    assert retry.step_key == "ocr_boxes"
    assert len(seen) == 3  # the first day, the second in vain, the second
    counts = [
        event.metadata["dagster/partition_row_count"].value
        for event in result.asset_materializations_for_node("ocr_boxes")
    ]
    assert counts == [1, 1]


def test_after_a_fault_of_cuda_the_run_is_retried_and_after_other_failures_not(
    fake_nvml: FakeNvml, videos: Path, tmp_path: Path, bench: str
) -> None:
    fake_nvml.add_gpu(24 * GIB)

    def find(picture: Picture) -> list[TextBox]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    POOLS[bench] = ReaderPool(FakeLoader(fake_nvml.state, find=find))
    easyocr = OwnPool(bench=bench, state_directory=str(tmp_path / "state"))
    data = tmp_path / "data"
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize_days(videos, data, instance, easyocr, last=DAYS[1])
        assert not [event for event in result.all_events if event.is_step_up_for_retry]
        assert failure(result).startswith("1 of 2 days failed")
        faulty = instance.get_run_by_id(result.run_id)
        assert faulty is not None
        assert faulty.tags[RETRY_RUN_TAG] == "true"
        assert faulty.tags[AFTER_FAULT_TAG] == "true"

        # Its retry has its tags, and fails for another reason.
        retry = instance.create_run_for_job(
            dg.JobDefinition(graph_def=dg.GraphDefinition("g")), tags=faulty.tags
        )
        retry_run_after_fault(instance, retry, wanted=False)
        taken_back = instance.get_run_by_id(retry.run_id)
        assert taken_back is not None
        assert taken_back.tags[RETRY_RUN_TAG] == "false"


def test_a_missing_source_is_not_retried(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize_days(tmp_path / "videos", tmp_path / "data", instance, last=DAYS[0])
    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    assert "the sensor late_videos runs the day once they have arrived" in failure(result)
