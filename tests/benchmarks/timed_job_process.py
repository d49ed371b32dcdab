"""`ocr-assets` with a clock around its forward pass; `job` runs it.

`python -m tests.benchmarks.timed_job_process FILE run ...` does what `ocr-assets run ...` does, and
writes the CPU seconds spent in the forward pass to the file.
"""

import sys
import threading
import time
from pathlib import Path
from typing import Any

from ocr_assets.cli import main
from ocr_assets.ocr.craft import Craft


class ForwardClock:
    """CPU seconds of `Craft.score_maps`, all threads together.

    A frame is worked on by one thread alone where every core has its own, as on the CPU; of more
    than one the time is not known, and asked for in vain.
    """

    def __init__(self) -> None:
        """Begins to count, for the rest of the process."""
        self.cpu_seconds = 0.0
        self._adding = threading.Lock()
        score_maps = Craft.score_maps

        def timed(network: Craft, canvases: Any) -> Any:
            import torch

            if torch.get_num_threads() != 1:
                raise RuntimeError(f"{torch.get_num_threads()} threads work on one frame")
            started = time.thread_time()
            maps = score_maps(network, canvases)
            with self._adding:
                self.cpu_seconds += time.thread_time() - started
            return maps

        Craft.score_maps = timed  # type: ignore[assignment,method-assign]


if __name__ == "__main__":
    clock = ForwardClock()
    status = main(sys.argv[2:])
    Path(sys.argv[1]).write_text(repr(clock.cpu_seconds))
    sys.exit(status)
