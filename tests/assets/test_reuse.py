"""Text that was found once is not looked for again: on other days, in a day, after changes."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ocr_assets.assets.ocr_boxes import ocr_boxes
from ocr_assets.ocr.boxes import TextBox
from ocr_assets.ocr.canvas import Picture
from ocr_assets.ocr.detector import DetectionError
from ocr_assets.ocr.reader_pool import ReaderPool
from ocr_assets.resources.tables import Tables
from tests.clips import numbered, write_video
from tests.fake_nvml import GIB, FakeNvml
from tests.gpu.fake_detector import FakeLoader, made_up_text
from tests.own_pool import POOLS, OwnPool
from tests.pipeline import DAY, MUCH_LATER, NEXT_DAY, materialize_day, rows

FOUND = ("boxes", "ocr_area_ratio", "union_area_ratio", "device", "milliseconds", "detection_key")


class Bench:
    """A source, its tables, and a detector that notes what it is shown."""

    def __init__(self, folder: Path, nvml: FakeNvml) -> None:
        self.videos, self.data = folder / "videos", folder / "data"
        self.name = str(folder)
        self.shown: list[bytes] = []
        self.refused: set[bytes] = set()
        nvml.add_gpu(24 * GIB)
        POOLS[self.name] = ReaderPool(FakeLoader(nvml.state, find=self._find))

    def _find(self, picture: Picture) -> list[TextBox]:
        self.shown.append(picture.tobytes())
        if picture.tobytes() in self.refused:
            raise DetectionError("it cannot be processed")
        return made_up_text(picture)

    def write(self, day: str, name: str, pictures: list[Picture]) -> None:
        """A clip all of whose pictures are sampled, without loss."""
        (self.videos / day).mkdir(parents=True, exist_ok=True)
        path = self.videos / day / f"{name}.mov"
        write_video(path, pictures, codec="png", pix_fmt="rgb24")

    def run(
        self, day: str = DAY, *, boxes: dict[str, Any] | None = None, **easyocr: Any
    ) -> dict[str, Any]:
        """Runs a day and returns the metadata of `ocr_boxes`."""
        result = materialize_day(
            self.videos,
            self.data,
            day=day,
            frames={"sample_every_seconds": 0.01, "part_max_frames": 3},
            boxes=boxes,
            easyocr=OwnPool(bench=self.name, state_directory=f"{self.data}-state", **easyocr),
        )
        (event,) = [
            one
            for one in result.get_asset_materialization_events()
            if one.asset_key == ocr_boxes.key
        ]
        return {key: value.value for key, value in event.materialization.metadata.items()}

    def found(self, day: str = DAY) -> list[tuple[Any, ...]]:
        return [tuple(row[name] for name in FOUND) for row in rows(self.data, "ocr_boxes", day)]


@pytest.fixture
def bench(tmp_path: Path, fake_nvml: FakeNvml) -> Iterator[Bench]:
    bench = Bench(tmp_path, fake_nvml)
    yield bench
    POOLS.pop(bench.name).close_idle()


def test_the_same_clip_on_another_day_is_not_detected_again(bench: Bench) -> None:
    bench.write(DAY, "a", numbered(4))
    bench.write(NEXT_DAY, "renamed", numbered(4))
    bench.write(NEXT_DAY, "new", numbered(7)[4:])
    assert bench.run(DAY)["frames_reused"] == 0
    metadata = bench.run(NEXT_DAY)
    assert len(bench.shown) == len(set(bench.shown)) == 7
    assert (metadata["frames"], metadata["frames_reused"]) == (7, 4)
    before = {row["image_hash"]: row for row in rows(bench.data, "ocr_boxes", DAY)}
    after = [row for row in rows(bench.data, "ocr_boxes", NEXT_DAY) if row["image_hash"] in before]
    assert len(after) == 4
    for row in after:
        assert [row[name] for name in FOUND] == [before[row["image_hash"]][name] for name in FOUND]


def test_a_picture_that_a_day_has_several_times_is_detected_once(bench: Bench) -> None:
    black, white, *_ = numbered(2)
    bench.write(DAY, "a", [black, white, black, black])
    bench.write(DAY, "b", [white, white, black, white, black])
    metadata = bench.run()
    assert sorted(bench.shown) == sorted([black.tobytes(), white.tobytes()])
    assert (metadata["frames"], metadata["frames_reused"]) == (9, 7)
    widths = [row["boxes"][0]["points"][1][0] for row in rows(bench.data, "ocr_boxes")]
    firsts = [int(one[0, 0, 0]) for one in (black, white)]
    order = [0, 1, 0, 0, 1, 1, 0, 1, 0]
    assert sorted(widths) == sorted(firsts[which] for which in order)
    assert all(row["detection_key"] for row in rows(bench.data, "ocr_boxes"))


def test_a_day_that_is_run_again_is_copied_from_itself(bench: Bench) -> None:
    bench.write(DAY, "a", numbered(5))
    bench.run()
    found = bench.found()
    metadata = bench.run(boxes={"reuse_days": 0})
    assert len(bench.shown) == 5
    assert metadata["frames_reused"] == 5
    assert bench.found() == found
    assert "data:image/jpeg" in metadata["most_covered_frames"]


@pytest.mark.parametrize(
    "settings", [{"min_size": 5}, {"precision": "exact"}, {"text_threshold": 0.6}]
)
def test_other_settings_mean_detecting_again(bench: Bench, settings: dict[str, Any]) -> None:
    bench.write(DAY, "a", numbered(3))
    bench.run()
    assert bench.run(**settings)["frames_reused"] == 0
    assert len(bench.shown) == 6


def test_settings_that_do_not_decide_on_boxes_do_not(bench: Bench) -> None:
    bench.write(DAY, "a", numbered(3))
    bench.run()
    assert bench.run(max_batch_frames=2, headroom_bytes=GIB)["frames_reused"] == 3


def test_nothing_is_reused_if_told_so_nor_from_too_far_away(bench: Bench) -> None:
    for day in (DAY, NEXT_DAY, MUCH_LATER):
        bench.write(day, "a", numbered(3))
    bench.run(DAY)
    assert bench.run(DAY, boxes={"reuse_days": None})["frames_reused"] == 0
    assert bench.run(NEXT_DAY, boxes={"reuse_days": 0})["frames_reused"] == 0
    assert bench.run(MUCH_LATER)["frames_reused"] == 0
    assert bench.run(MUCH_LATER, boxes={"reuse_days": 60})["frames_reused"] == 3
    assert len(bench.shown) == 4 * 3


def test_a_frame_that_failed_is_tried_again(bench: Bench) -> None:
    pictures = numbered(3)
    bench.write(DAY, "a", pictures)
    bench.refused.add(pictures[1].tobytes())
    assert bench.run()["failed"] == 1
    bench.refused.clear()
    metadata = bench.run()
    assert (metadata["failed"], metadata["frames_reused"]) == (0, 2)
    assert all(row["error"] is None for row in rows(bench.data, "ocr_boxes"))


def test_part_files_that_are_gone_are_done_without(bench: Bench) -> None:
    for day in (DAY, NEXT_DAY):
        bench.write(day, "a", numbered(3))
    bench.run(DAY)
    table = Tables(root=str(bench.data)).ocr_boxes
    shutil.rmtree(Path(table.uri) / f"date={DAY}")
    assert bench.run(NEXT_DAY)["frames_reused"] == 0
    assert len(bench.shown) == 6
