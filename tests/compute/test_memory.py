"""The memory of whoever drives a step does not grow with the frames of its units."""

import tracemalloc
from pathlib import Path

from ocr_assets.assets.ocr_boxes import ocr_boxes
from ocr_assets.ocr.reader_pool import ReaderPool
from ocr_assets.resources.tables import Tables
from tests.benchmarks.day_of_parts import DATE, write_day
from tests.gpu.fake_detector import FakeLoader
from tests.own_pool import POOLS, OwnPool
from tests.pipeline import materialize_day

FEW, MANY = 20, 100
FRAMES, WIDTH, HEIGHT = 32, 128, 96


def test_a_unit_more_takes_a_small_part_of_the_memory_of_its_frames(tmp_path: Path) -> None:
    POOLS["memory"] = ReaderPool(FakeLoader(tmp_path))
    frames_bytes = write_and_detect(tmp_path / "warm-up", FEW)[1] / FEW
    few, many = (write_and_detect(tmp_path / f"{units}", units)[0] for units in (FEW, MANY))
    POOLS.pop("memory").close_idle()
    assert (many - few) / (MANY - FEW) < frames_bytes / 20


def write_and_detect(data: Path, units: int) -> tuple[int, int]:
    """The peak of what Python has allocated on the way, and the size of all frames, in bytes."""
    tables = Tables(root=str(data))
    write_day(tables, units, FRAMES, WIDTH, HEIGHT)
    images = tables.sampled_frames.scan(DATE).select("image").collect()["image"]
    tracemalloc.start()
    try:
        easyocr = OwnPool(bench="memory", device="cpu", state_directory=f"{data}/state")
        materialize_day(data, data, assets=[ocr_boxes], boxes={"reuse_days": None}, easyocr=easyocr)
        return tracemalloc.get_traced_memory()[1], sum(map(len, images))
    finally:
        tracemalloc.stop()
