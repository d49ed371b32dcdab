"""The day's assets on fake GPUs, with the real EasyOCR behind them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ocr_assets.assets.ocr_boxes import ocr_boxes
from ocr_assets.assets.sampled_frames import sampled_frames
from ocr_assets.assets.video_manifest import video_manifest
from ocr_assets.demo import Line
from ocr_assets.gpu.snapshot import take_snapshot
from ocr_assets.ocr.boxes import TextBox
from ocr_assets.ocr.canvas import Picture
from ocr_assets.ocr.reader_pool import ReaderPool
from ocr_assets.ocr.text_detector import TextDetector
from ocr_assets.ocr.thresholds import DetectionThresholds
from ocr_assets.resources.easyocr import EasyOCRResource
from tests.clips import text_picture, write_video
from tests.fake_nvml import GIB, FakeNvml, allocate, used_bytes
from tests.gpu.fake_detector import FakeLoader
from tests.own_pool import POOLS, OwnPool
from tests.pipeline import DAY, materialize_day, rows


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[str]:
    name = str(tmp_path)
    yield name
    POOLS.pop(name).close_idle()


def make_clips(folder: Path, count: int) -> Path:
    (folder / DAY).mkdir(parents=True)
    for number in range(count):
        frames = [
            text_picture([Line("SUBTITLE", 60, 120 + 20 * number + 5 * frame, 30 + 4 * number)])
            for frame in range(6)
        ]
        write_video(folder / DAY / f"{number}.mp4", [frame[:256, :320] for frame in frames])
    return folder


def resource(bench: str, tmp_path: Path, **fields: Any) -> OwnPool:
    return OwnPool(
        bench=bench, state_directory=str(tmp_path / "state"), recheck_seconds=0, **fields
    )


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node("ocr_boxes")
    return {key: value.value for key, value in event.metadata.items()}


def boxes(data: Path) -> list[tuple[Any, ...]]:
    columns = ("video_id", "frame_index", "boxes", "ocr_area_ratio", "union_area_ratio", "error")
    return [tuple(row[column] for column in columns) for row in rows(data, "ocr_boxes")]


def finder(detector: TextDetector, before: Callable[[], None]) -> Callable[..., list[TextBox]]:
    def find(picture: Picture) -> list[TextBox]:
        before()
        return detector.detect(picture, DetectionThresholds())

    return find


def test_a_day_begins_on_the_cpu_while_the_gpu_is_full_and_ends_on_the_gpu(
    fake_nvml: FakeNvml, tmp_path: Path, bench: str, detector: TextDetector
) -> None:
    uuid = fake_nvml.add_gpu(24 * GIB)
    hog = allocate(fake_nvml.state, uuid, 23 * GIB)
    seen = []

    def before() -> None:
        seen.append(used_bytes(fake_nvml.state, uuid))
        if len(seen) == 5:
            hog.free()

    POOLS[bench] = ReaderPool(FakeLoader(fake_nvml.state, find=finder(detector, before)))
    videos = make_clips(tmp_path / "videos", 4)
    result = materialize_day(videos, tmp_path / "data", easyocr=resource(bench, tmp_path))
    devices = [row["device"] for row in rows(tmp_path / "data", "ocr_boxes")]
    # On the CPU each core has a frame of its own, so the fifth may not be the last one there.
    on_cpu = devices.count("cpu")
    assert 5 <= on_cpu < 12
    assert devices == ["cpu"] * on_cpu + ["cuda:0"] * (12 - on_cpu)
    found = metadata(result)
    assert found["devices"] == {"cpu": on_cpu, "cuda:0": 12 - on_cpu}
    assert found["device_share/cpu"] == found["fallback_share"] == on_cpu / 12
    assert found["device_share/cuda:0"] == 1 - on_cpu / 12
    assert found["fallbacks"] == 1
    assert found["gpu_lease_bytes"] > found["gpu_peak_bytes"] > 0

    on_purpose = metadata(materialize_day(videos, tmp_path / "cpu_only"))
    assert (on_purpose["device_share/cpu"], on_purpose["fallback_share"]) == (1, 0)
    assert boxes(tmp_path / "data") == boxes(tmp_path / "cpu_only")
    assert any(row["ocr_area_ratio"] > 0.05 for row in rows(tmp_path / "data", "ocr_boxes"))


def test_after_a_cuda_fault_the_next_try_goes_on_where_it_happened(
    fake_nvml: FakeNvml,
    tmp_path: Path,
    bench: str,
    detector: TextDetector,
) -> None:
    uuid = fake_nvml.add_gpu(24 * GIB)
    seen = []

    def before() -> None:
        seen.append(used_bytes(fake_nvml.state, uuid))
        if len(seen) == 8:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    videos, data = make_clips(tmp_path / "videos", 4), tmp_path / "data"
    one_video_a_part = {"part_max_frames": 3}
    materialize_day(videos, data, assets=[video_manifest, sampled_frames], frames=one_video_a_part)
    for expected in (False, True):
        # A new pool each time, as in the new process that a retry gets.
        POOLS[bench] = ReaderPool(FakeLoader(fake_nvml.state, find=finder(detector, before)))
        result = materialize_day(
            videos,
            data,
            assets=[ocr_boxes],
            easyocr=resource(bench, tmp_path, max_batch_frames=1),
            raise_on_error=False,
        )
        assert result.success is expected
    assert len(seen) == 8 + 6  # the two videos that were finished are not detected again
    assert metadata(result)["frames"] == 12
    assert not list((data / "ocr_boxes" / "_unfinished").iterdir())
    materialize_day(videos, tmp_path / "cpu_only")
    assert boxes(data) == boxes(tmp_path / "cpu_only")


def test_two_runs_of_a_process_load_one_model(
    fake_nvml: FakeNvml, tmp_path: Path, bench: str
) -> None:
    fake_nvml.add_gpu(24 * GIB)
    POOLS[bench] = ReaderPool(FakeLoader(fake_nvml.state))
    videos = make_clips(tmp_path / "videos", 1)
    for _ in range(2):
        materialize_day(videos, tmp_path / "data", easyocr=resource(bench, tmp_path))
    assert POOLS[bench].load_count == 1


def test_asking_for_a_gpu_on_a_machine_without_one_fails_with_a_sentence(
    fake_nvml: FakeNvml, tmp_path: Path
) -> None:
    videos, data = make_clips(tmp_path / "videos", 1), tmp_path / "data"
    materialize_day(videos, data, assets=[video_manifest, sampled_frames])
    with pytest.raises(Exception, match="device is `cuda`, but there is no GPU to use"):
        materialize_day(
            videos,
            data,
            assets=[ocr_boxes],
            easyocr=EasyOCRResource(device="cuda", state_directory=str(tmp_path / "state")),
        )


def test_leases_are_given_back_when_the_process_pool_is_closed(
    fake_nvml: FakeNvml, tmp_path: Path, bench: str
) -> None:
    uuid = fake_nvml.add_gpu(24 * GIB)
    POOLS[bench] = ReaderPool(FakeLoader(fake_nvml.state))
    easyocr = resource(bench, tmp_path)
    materialize_day(make_clips(tmp_path / "videos", 1), tmp_path / "data", easyocr=easyocr)
    ledger = easyocr.policy().gpu_ledger(take_snapshot().gpus[0])
    assert len(ledger.state().leases) == 1
    assert POOLS[bench].close_idle() == 1
    assert ledger.state().leases == ()
    assert used_bytes(fake_nvml.state, uuid) == 0


def test_contradicting_settings_are_refused_at_the_door() -> None:
    with pytest.raises(ValueError, match="rules the CPU out"):
        EasyOCRResource(device="cuda", when_gpu_full="cpu")
    with pytest.raises(ValueError, match="max_fraction"):
        EasyOCRResource(max_fraction=1.5)
    assert EasyOCRResource(device="cuda").policy().overflow == "wait"
