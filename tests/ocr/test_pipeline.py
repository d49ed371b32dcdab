"""Frames on their way through a detector that notes what it is given, on a fake GPU."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ocr_assets.gpu.placement import PlacementPolicy
from ocr_assets.ocr.boxes import TextBox
from ocr_assets.ocr.canvas import Picture
from ocr_assets.ocr.detector import DetectionError, ModelSettings
from ocr_assets.ocr.outcome import Detected, Outcome
from ocr_assets.ocr.pipeline import FrameToDo, detect_frames
from ocr_assets.ocr.reader import Sizing
from ocr_assets.ocr.reader_pool import ReaderPool
from ocr_assets.ocr.session import DetectionSession
from ocr_assets.ocr.thresholds import DetectionThresholds
from ocr_assets.video.images import encode_image
from tests.fake_nvml import GIB, FakeNvml
from tests.gpu.fake_detector import FakeLoader, made_up_text

THRESHOLDS = DetectionThresholds()
SIZES = {"small": (64, 48), "wide": (96, 48)}


class Bench:
    def __init__(self, nvml: FakeNvml, folder: Path) -> None:
        nvml.add_gpu(24 * GIB)
        self.pool = ReaderPool(FakeLoader(nvml.state, find=self._find))
        self.policy = PlacementPolicy(folder / "state", device="cuda")
        self.shown: list[tuple[int, int]] = []
        self.finished: dict[int, tuple[Picture | None, Outcome]] = {}
        self.broken = False

    def _find(self, picture: Picture) -> list[TextBox]:
        if self.broken:
            raise RuntimeError("a bug")
        self.shown.append((picture.shape[1], picture.shape[0]))
        return made_up_text(picture)

    def session(self) -> DetectionSession:
        return DetectionSession(self.pool, ModelSettings(), Sizing(4), self.policy, print)

    def frame(self, brightness: int, size: str = "small", image: bytes | None = None) -> FrameToDo:
        width, height = SIZES[size]
        picture = np.full((height, width, 3), brightness, np.uint8)

        def finish(rgb: Picture | None, outcome: Outcome) -> None:
            self.finished[brightness] = (rgb, outcome)

        data = encode_image(picture).data if image is None else image
        return FrameToDo(data, width, height, finish)


@pytest.fixture
def bench(fake_nvml: FakeNvml, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(fake_nvml, tmp_path)
    yield bench
    bench.pool.close_idle()


def test_every_frame_gets_its_own_outcome_and_groups_end_in_order(bench: Bench) -> None:
    groups = [
        ("one", [bench.frame(1), bench.frame(2, "wide"), bench.frame(3)]),
        ("empty", []),
        ("two", [bench.frame(number) for number in range(4, 14)]),
    ]
    with bench.session() as session:
        ended = [
            (name, sorted(bench.finished))
            for name in detect_frames(groups, session, THRESHOLDS, batch_frames=4)
        ]
    assert [name for name, _ in ended] == ["one", "empty", "two"]
    assert {1, 2, 3} <= set(ended[0][1])
    assert sorted(bench.finished) == list(range(1, 14))
    for brightness, (rgb, outcome) in bench.finished.items():
        assert rgb is not None
        assert rgb[0, 0, 0] == brightness
        assert isinstance(outcome, Detected)
        assert outcome.boxes[0].points[1][0] == brightness


def test_frames_of_one_size_go_together_whatever_lies_between_them(bench: Bench) -> None:
    mixed = [bench.frame(number, "wide" if number % 2 else "small") for number in range(1, 9)]
    with bench.session() as session:
        assert list(detect_frames([("mixed", mixed)], session, THRESHOLDS, batch_frames=4)) == [
            "mixed"
        ]
    assert bench.shown == [SIZES["wide"]] * 4 + [SIZES["small"]] * 4


def test_an_image_that_cannot_be_decoded_costs_only_itself(bench: Bench) -> None:
    frames = [bench.frame(1), bench.frame(2, image=b"no image"), bench.frame(3)]
    with bench.session() as session:
        list(detect_frames([("part", frames)], session, THRESHOLDS, batch_frames=4))
    rgb, outcome = bench.finished[2]
    assert rgb is None
    assert isinstance(outcome, DetectionError)
    assert str(outcome) == "8 bytes that are not an image"
    assert isinstance(bench.finished[1][1], Detected)
    assert isinstance(bench.finished[3][1], Detected)


def test_groups_are_taken_only_as_there_is_room_for_them(bench: Bench) -> None:
    taken = []

    def groups() -> Iterator[tuple[int, list[FrameToDo]]]:
        for number in range(1, 200):
            taken.append(number)
            yield number, [bench.frame(number)]

    with bench.session() as session:
        done = detect_frames(groups(), session, THRESHOLDS, batch_frames=1)
        assert next(done) == 1
        assert len(taken) < 50
        done.close()


def test_an_error_of_the_detector_comes_out_and_nothing_hangs(bench: Bench) -> None:
    bench.broken = True
    with bench.session() as session, pytest.raises(RuntimeError, match="a bug"):
        list(detect_frames([("part", [bench.frame(1)])], session, THRESHOLDS, batch_frames=1))
