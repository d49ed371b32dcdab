"""What a unit of `ocr_boxes` costs the process that drives the step; `scale` runs it."""

import os
import re
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ocr_assets.assets.ocr_boxes import ocr_boxes
from ocr_assets.resources.compute import ComputeResource
from ocr_assets.resources.easyocr import EasyOCRResource
from ocr_assets.resources.tables import Tables
from tests.benchmarks.apart import answer
from tests.benchmarks.day_of_parts import DATE, write_day
from tests.pipeline import materialize_day

WARM_UP_PARTS = 8
WIDTH, HEIGHT = 32, 32


def drive(engine: str, parts: int, frames: int) -> dict[str, Any]:
    """Materialises `ocr_boxes` with a detector that costs nothing, in this process.

    Args:
        engine: `local`, or `ray` for a cluster of this machine.
        parts: Units of the day.
        frames: Frames in each.
    """
    with TemporaryDirectory() as folder:
        for name, count in (("warm-up", WARM_UP_PARTS), ("day", parts)):
            write_day(Tables(root=f"{folder}/{name}"), count, frames, WIDTH, HEIGHT)
        _run(engine, f"{folder}/warm-up")
        before = _memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here on
        wall, process, thread = time.perf_counter(), time.process_time(), time.thread_time()
        _run(engine, f"{folder}/day")
        found = {
            "engine": engine,
            "parts": parts,
            "frames": frames,
            "wall_seconds": time.perf_counter() - wall,
            "process_cpu_seconds": time.process_time() - process,
            # The step's own thread: what it does, no two units do at once.
            "thread_cpu_seconds": time.thread_time() - thread,
            "bytes_before": before,
            "peak_bytes": _memory("VmHWM"),
        }
        assert Tables(root=f"{folder}/day").ocr_boxes.row_count(DATE) == parts * frames
    return found


def _run(engine: str, data: str) -> None:
    materialize_day(
        Path(data),
        Path(data),
        assets=[ocr_boxes],
        boxes={"reuse_days": None},
        easyocr=EasyOCRResource(
            device="cpu", cores_per_cpu_reader=1, state_directory=f"{data}/state"
        ),
        compute=ComputeResource(engine=engine),  # type: ignore[arg-type]
    )


def _memory(name: str) -> int:
    """A line of this process's status, in bytes."""
    text = Path(f"/proc/{os.getpid()}/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


if __name__ == "__main__":
    answer(drive)
