"""Boxes extracted in other processes are the same boxes, whatever becomes of the processes."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ocr_assets.ocr.extraction_processes import ExtractionProcesses
from ocr_assets.ocr.text_boxes import extract_boxes
from ocr_assets.ocr.text_regions import ScoreMap
from ocr_assets.ocr.thresholds import DetectionThresholds

THRESHOLDS = DetectionThresholds()


@pytest.fixture
def processes() -> Iterator[ExtractionProcesses]:
    processes = ExtractionProcesses()
    yield processes
    processes.close()


def words(count: int) -> tuple[ScoreMap, ScoreMap]:
    text, link = np.zeros((200, 300), np.float32), np.zeros((200, 300), np.float32)
    for number in range(count):
        top, left = divmod(number, 4)
        text[20 * top + 5 : 20 * top + 12, 70 * left + 5 : 70 * left + 60] = 0.9
    return text, link


def process_ids(processes: ExtractionProcesses) -> list[int]:
    return [child.process.pid for child in processes._children]


def test_threads_get_the_boxes_that_they_would_have_made(processes: ExtractionProcesses) -> None:
    pages = [words(count) for count in range(1, 20)]
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda page: processes.extract(*page, 1.0, THRESHOLDS), pages))
    assert found == [extract_boxes(*page, 1.0, THRESHOLDS) for page in pages]
    assert 1 <= len(process_ids(processes)) <= 2


def test_a_process_that_dies_is_replaced_and_nothing_is_lost(
    processes: ExtractionProcesses,
) -> None:
    page = words(5)
    expected = extract_boxes(*page, 1.0, THRESHOLDS)
    assert processes.extract(*page, 1.0, THRESHOLDS) == expected
    (process_id,) = process_ids(processes)
    os.kill(process_id, signal.SIGKILL)
    assert processes.extract(*page, 1.0, THRESHOLDS) == expected
    assert processes.extract(*page, 1.0, THRESHOLDS) == expected
    (new_process_id,) = process_ids(processes)
    assert new_process_id != process_id


def test_what_extraction_raises_is_raised_here(processes: ExtractionProcesses) -> None:
    text, link = words(1)
    with pytest.raises(Exception, match=r"shape|broadcast|operands"):
        processes.extract(text, link[:10], 1.0, THRESHOLDS)
    assert processes.extract(text, link, 1.0, THRESHOLDS)


def test_no_process_is_left_behind(processes: ExtractionProcesses) -> None:
    processes.extract(*words(1), 1.0, THRESHOLDS)
    children = list(processes._children)
    processes.close()
    assert all(child.process.poll() == 0 for child in children)
