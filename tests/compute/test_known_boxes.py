"""What a day has to be asked about its frames, unit by unit."""

from operator import length_hint
from pathlib import Path

import numpy as np
import pytest

from ocr_assets.assets.day_of_frames import DayOfFrames, UnitsOfBoxes
from ocr_assets.compute.known_boxes import KnownBoxes, are_among
from ocr_assets.resources.tables import Tables
from tests.benchmarks.day_of_parts import DATE, write_day


@pytest.mark.parametrize("others", [0, 1, 50])
def test_numbers_are_found_among_others(others: int) -> None:
    chance = np.random.default_rng(others)
    ascending = np.sort(chance.integers(0, 100, others, np.uint64))
    numbers = chance.integers(0, 100, 200, np.uint64)
    assert are_among(ascending, numbers).tolist() == np.isin(numbers, ascending).tolist()
    assert are_among(ascending, numbers[:0]).tolist() == []


def test_it_is_known_from_the_start_how_many_units_a_day_has(tmp_path: Path) -> None:
    tables = Tables(root=str(tmp_path))
    write_day(tables, parts=5, frames=2, width=8, height=8)
    day = DayOfFrames.read(tables.sampled_frames, DATE)
    left = [1, 2, 4]
    known = KnownBoxes(tables.ocr_boxes, {}, "a key", day.sorted_numbers(left))
    units = UnitsOfBoxes(tables.sampled_frames, DATE, day, left, known)
    assert length_hint(units) == 3  # by which a cluster starts as many detectors
    assert [unit.number for unit in units] == left
