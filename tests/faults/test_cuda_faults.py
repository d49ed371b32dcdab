"""CUDA errors at load and at any batch of a day: nothing is lost, misjudged or done twice."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from ocr_assets.assets.filtered_dataset import filtered_dataset
from ocr_assets.assets.ocr_boxes import ocr_boxes
from ocr_assets.assets.sampled_frames import sampled_frames
from ocr_assets.assets.video_manifest import video_manifest
from ocr_assets.ocr.boxes import TextBox, rect_box
from ocr_assets.ocr.canvas import Picture
from ocr_assets.ocr.detector import Detector, Found, ModelSettings
from ocr_assets.ocr.reader_pool import ReaderPool
from ocr_assets.ocr.thresholds import DetectionThresholds
from ocr_assets.tables.partitioned import PartitionMissingError
from tests.clips import write_video
from tests.fake_nvml import GIB, FakeNvml
from tests.gpu.fake_detector import CpuDetector, FakeDetector, FakeLoader
from tests.own_pool import POOLS, OwnPool
from tests.pipeline import materialize_day, rows

DAY = "2026-01-31"
VIDEOS, FRAMES_A_VIDEO, BATCH = 6, 3, 2
FRAMES = VIDEOS * FRAMES_A_VIDEO
BATCHES_A_VIDEO = 2  # of two frames and of one; a part file has the frames of one video
BATCHES = VIDEOS * BATCHES_A_VIDEO
FIRST_VIDEO = range(60)  # the brightness of its frames, and of no others

WHEN = {"load": 0, "first": 1, "middle": BATCHES // 2 + 1, "last": BATCHES}

OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB"
STICKY = "CUDA error: an illegal memory access was encountered"
SENTENCE = "CUDA does not work in this process any more, a new process may succeed"


def brightness(picture: Picture) -> int:
    return int(picture.mean())


def text_by_brightness(picture: Picture) -> list[TextBox]:
    """The brighter, the more of it is covered: all frames differ, and half of the videos go."""
    height, width = picture.shape[:2]
    return [rect_box(0, width * brightness(picture) // 255, 0, height)]


@dataclass
class Fault:
    """What the fake CUDA does in one process.

    Attributes:
        at: The batch at which it fails, from 1 on; 0: at load; None: never.
        error: What it raises.
        lasting: Whether everything fails from then on, or that one call.
        on_waiting: Whether it is raised where the result is waited for, not where work is begun.
        only: The batches it concerns; None: all.
        found: The brightness of each frame that was detected, on whatever device.
    """

    at: int | None = None
    error: Callable[[], Exception] = RuntimeError
    lasting: bool = False
    on_waiting: bool = False
    only: Callable[[Picture], bool] | None = None
    calls: int = 0
    struck: bool = False
    found: list[int] = field(default_factory=list)

    def strikes(self, call: int) -> bool:
        if self.at is None or (self.struck and not self.lasting) or call < self.at:
            return False
        self.struck = True
        return True

    def find(self, picture: Picture) -> list[TextBox]:
        self.found.append(brightness(picture))
        return text_by_brightness(picture)


class Faulty(FakeDetector):
    """Fails when its fault says so."""

    fault: Fault

    def detect_batch(
        self, pictures: Sequence[Picture], thresholds: DetectionThresholds
    ) -> list[Future[Found]]:
        self.fault.calls += 1
        concerned = self.fault.only is None or any(map(self.fault.only, pictures))
        if concerned and self.fault.strikes(self.fault.calls):
            if not self.fault.on_waiting:
                raise self.fault.error()
            return [self._failed() for _ in pictures]
        return super().detect_batch(pictures, thresholds)

    def _failed(self) -> Future[Found]:
        future: Future[Found] = Future()
        future.set_exception(self.fault.error())
        return future


class FaultyCpu(CpuDetector):
    """Fails at what its fault concerns, if that is anything in particular."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.find)
        self._fault = fault

    def detect_batch(
        self, pictures: Sequence[Picture], thresholds: DetectionThresholds
    ) -> list[Future[Found]]:
        if self._fault.only is not None and any(map(self._fault.only, pictures)):
            raise MemoryError
        return super().detect_batch(pictures, thresholds)


class FaultyLoader(FakeLoader):
    """Loads them."""

    def __init__(self, state: Path, fault: Fault) -> None:
        super().__init__(state, find=fault.find)
        self._fault = fault

    def __call__(self, settings: ModelSettings, device: str, uuid: str) -> Detector:
        if device == "cpu":
            return FaultyCpu(self._fault)
        if self._fault.strikes(0):
            raise self._fault.error()
        detector = Faulty(self._state, uuid, self.appetite, self._find, device)
        detector.fault = self._fault
        self.loaded.append(detector)
        return detector


class Day:
    """Tables of the videos' day, and runs of it, each in what is a new process to the detector."""

    def __init__(self, nvml: FakeNvml, videos: Path, folder: Path) -> None:
        self.nvml = nvml
        self.videos = videos
        self.folder = folder
        self.data = folder / "data"
        materialize_day(
            self.videos,
            self.data,
            assets=[video_manifest, sampled_frames],
            frames={"part_max_frames": FRAMES_A_VIDEO},
        )

    def detect(self, fault: Fault, **settings: Any) -> dg.ExecuteInProcessResult:
        """Runs what is left of the day."""
        name, loader = str(self.folder), FaultyLoader(self.nvml.state, fault)
        POOLS[name] = pool = ReaderPool(loader)
        easyocr = OwnPool(
            bench=name,
            state_directory=str(self.folder / "state"),
            max_batch_frames=BATCH,
            recheck_seconds=3600,
            **settings,
        )
        result = materialize_day(
            self.videos,
            self.data,
            assets=[ocr_boxes, filtered_dataset],
            easyocr=easyocr,
            rule={"max_area_ratio": 0.4},
            raise_on_error=False,
        )
        # As at the end of a process, whether it can be tidy or not.
        pool.close_idle()
        pool.end_leases()
        for detector in loader.loaded:
            detector.close()
        return result

    def tables(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Boxes and verdicts, without what tells of the device."""
        boxes = rows(self.data, "ocr_boxes", DAY)
        for row in boxes:
            del row["device"], row["milliseconds"]
        return boxes, rows(self.data, "filtered_dataset", DAY)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No two sampled frames of them are alike."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / DAY).mkdir()
    for video in range(VIDEOS):
        shades = [40 + 20 * video + 4 * number for number in range(5)]
        pictures = [np.full((64, 96, 3), shade, np.uint8) for shade in shades]
        write_video(folder / DAY / f"{video}.mp4", pictures)
    return folder


@pytest.fixture
def new_day(fake_nvml: FakeNvml, videos: Path, tmp_path: Path) -> Iterator[Callable[[str], Day]]:
    fake_nvml.add_gpu(24 * GIB)
    yield lambda name: Day(fake_nvml, videos, tmp_path / name)
    for folder in tmp_path.iterdir():
        POOLS.pop(str(folder), None)


@pytest.fixture
def undisturbed(new_day: Callable[[str], Day]) -> Day:
    day = new_day("undisturbed")
    fault = Fault()
    assert day.detect(fault).success
    assert len(fault.found) == FRAMES
    assert fault.calls == BATCHES
    verdicts = [row["verdict"] for row in day.tables()[1]]
    assert sorted(set(verdicts)) == ["drop", "keep"]
    return day


def frames_before(batch: int) -> int:
    videos, batches = divmod(max(batch - 1, 0), BATCHES_A_VIDEO)
    return videos * FRAMES_A_VIDEO + batches * BATCH


def out_of_memory() -> Exception:
    import torch

    return torch.OutOfMemoryError(OUT_OF_MEMORY)


def sticky() -> Exception:
    return RuntimeError(STICKY)


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node("ocr_boxes")
    return {key: value.value for key, value in event.metadata.items()}


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("when", WHEN)
def test_running_out_of_memory_changes_no_row_whenever_it_happens(
    new_day: Callable[[str], Day], undisturbed: Day, when: str, lasting: bool
) -> None:
    day, fault = new_day("day"), Fault(WHEN[when], out_of_memory, lasting)
    result = day.detect(fault)
    assert result.success
    assert fault.struck
    assert day.tables() == undisturbed.tables()
    assert len(fault.found) == FRAMES  # each once
    told = metadata(result)
    assert told["failed"] == 0
    assert sum(told["devices"].values()) == FRAMES
    on_gpu = frames_before(WHEN[when])
    if lasting:
        assert told["devices"].get("cpu") == FRAMES - on_gpu
    elif when != "load":
        assert told["devices"] == {"cuda:0": FRAMES}


@pytest.mark.parametrize(
    ("when", "on_waiting"),
    [("load", False), *((when, how) for when in list(WHEN)[1:] for how in (False, True))],
)
def test_a_broken_cuda_fails_the_step_and_the_next_process_does_what_is_left(
    new_day: Callable[[str], Day], undisturbed: Day, when: str, on_waiting: bool
) -> None:
    day = new_day("day")
    broken = Fault(WHEN[when], sticky, lasting=True, on_waiting=on_waiting)
    result = day.detect(broken)
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    said = failure.step_failure_data.error.to_string()
    assert STICKY in said
    assert SENTENCE in said
    assert "What to do: " in said
    assert result.asset_materializations_for_node("filtered_dataset") == []
    with pytest.raises(PartitionMissingError):  # nothing of it is to be seen yet
        rows(day.data, "ocr_boxes", DAY)

    healed = Fault()
    result = day.detect(healed)
    assert result.success
    assert day.tables() == undisturbed.tables()
    finished = frames_before(WHEN[when]) // FRAMES_A_VIDEO * FRAMES_A_VIDEO
    assert len(healed.found) == FRAMES - finished
    assert not list((day.data / "ocr_boxes" / "_unfinished").iterdir())


def test_frames_that_no_device_has_memory_for_are_quarantined_and_never_kept(
    new_day: Callable[[str], Day], undisturbed: Day
) -> None:
    day = new_day("day")
    only = Fault(1, out_of_memory, lasting=True, only=lambda rgb: brightness(rgb) in FIRST_VIDEO)
    result = day.detect(only)
    assert result.success
    assert metadata(result)["failed"] == FRAMES_A_VIDEO
    verdicts, expected = (
        {Path(row["sample_id"]).name: row["verdict"] for row in one.tables()[1]}
        for one in (day, undisturbed)
    )
    assert expected["0.mp4"] == "keep"
    assert verdicts == expected | {"0.mp4": "quarantine"}


class SmallMemory(CpuDetector):
    """Has no memory for more than so many frames under way."""

    def __init__(self, fault: Fault, most: int) -> None:
        super().__init__(fault.find)
        self._most = most

    def detect_batch(
        self, pictures: Sequence[Picture], thresholds: DetectionThresholds
    ) -> list[Future[Found]]:
        if self.frames_at_once[-1] <= self._most:
            return super().detect_batch(pictures, thresholds)
        failed: Future[Found] = Future()
        failed.set_exception(
            RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. can't allocate memory")
        )
        return [failed] * len(pictures)


@pytest.mark.parametrize(("most", "failed"), [(2, 0), (1, 0), (0, FRAMES)])
def test_a_cpu_out_of_memory_with_several_frames_under_way_tries_each_again_with_fewer(
    new_day: Callable[[str], Day],
    undisturbed: Day,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
    failed: int,
) -> None:
    monkeypatch.setattr("ocr_assets.gpu.host.usable_cores", lambda: 8)
    day, fault = new_day("day"), Fault()
    cpu = SmallMemory(fault, most)
    name = str(day.folder)
    POOLS[name] = ReaderPool(lambda settings, device, uuid: cpu)
    result = materialize_day(
        day.videos,
        day.data,
        assets=[ocr_boxes, filtered_dataset],
        easyocr=OwnPool(bench=name, state_directory=str(day.folder / "state"), device="cpu"),
        rule={"max_area_ratio": 0.4},
    )
    told = metadata(result)
    assert told["failed"] == failed
    assert told["batches_halved"] > 0
    if failed:
        assert {row["verdict"] for row in day.tables()[1]} == {"quarantine"}
    else:
        assert day.tables() == undisturbed.tables()
        assert told["devices"] == {"cpu": FRAMES}
