"""What a unit of `ocr_boxes` costs the process that drives the step; `scale` runs it."""

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from ocr_assets.assets.ocr_boxes import ocr_boxes
from ocr_assets.compute.boxes_work import FinishedBoxes
from ocr_assets.compute.interface import Compute
from ocr_assets.resources.compute import ComputeResource
from ocr_assets.resources.easyocr import EasyOCRResource
from ocr_assets.resources.tables import Tables
from tests.benchmarks.apart import answer, run_apart
from tests.benchmarks.day_of_parts import DATE
from tests.pipeline import materialize_day

WARM_UP_PARTS = 8
WIDTH, HEIGHT = 32, 32


class WatchedCompute(ComputeResource):
    """The resource, which also takes down how much memory this process has at work."""

    peaks: ClassVar[list[int]] = []  # up to the first unit that is finished, and then to the last

    def workers(self) -> Compute:
        """See `ComputeResource`."""
        engine = super().workers()
        engine.detect = _watched(engine.detect)  # type: ignore[method-assign]
        return engine


def _watched(detect: Callable[..., Iterator[FinishedBoxes]]) -> Callable[..., Any]:
    def watched(*arguments: Any) -> Iterator[FinishedBoxes]:
        peaks: list[int] = []
        for one in detect(*arguments):
            if not peaks:
                peaks.append(_peak_so_far())
            yield one
        WatchedCompute.peaks = [*peaks, _peak_so_far()]

    return watched


def drive(engine: str, parts: int, frames: int) -> dict[str, Any]:
    """Materialises `ocr_boxes` with a detector that costs nothing, in this process.

    Args:
        engine: `local`, or `ray` for a cluster of this machine.
        parts: Units of the day.
        frames: Frames in each.
    """
    with TemporaryDirectory() as folder:
        # In a process of its own: this one would keep what that took.
        size: dict[str, Any] = {"frames": frames, "width": WIDTH, "height": HEIGHT}
        for name, count in (("warm-up", WARM_UP_PARTS), ("day", parts)):
            run_apart("day_of_parts", root=f"{folder}/{name}", parts=count, **size)
        _run(engine, f"{folder}/warm-up")
        before = _memory("VmRSS")
        _peak_so_far()
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
        }
        begin, units, commit = *WatchedCompute.peaks, _peak_so_far()
        found |= {"begin_peak_bytes": begin, "units_peak_bytes": units, "commit_peak_bytes": commit}
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
        compute=WatchedCompute(engine=engine),  # type: ignore[arg-type]
        checks=False,
    )


def _peak_so_far() -> int:
    """The most memory since it was asked for last, in bytes."""
    peak = _memory("VmHWM")
    Path("/proc/self/clear_refs").write_text("5")
    return peak


def _memory(name: str) -> int:
    """A line of this process's status, in bytes."""
    text = Path(f"/proc/{os.getpid()}/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


if __name__ == "__main__":
    answer(drive)
