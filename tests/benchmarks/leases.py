"""What a lease costs: `python -m tests.benchmarks.leases`."""

import statistics
import tempfile
import time
from pathlib import Path

from ocr_assets.gpu.admission import Limits
from ocr_assets.gpu.ledger import Ledger
from ocr_assets.gpu.snapshot import Memory

GIB = 1024**3
ROUNDS = 1000


def main() -> None:
    """Prints the time that taking and releasing a lease takes, without contention."""
    memory = Memory(24 * GIB, 24 * GIB)
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder), "GPU-benchmark", lambda: memory, drain_seconds=0)
        seconds = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            ledger.take(2 * GIB, Limits()).release()
            seconds.append(time.perf_counter() - started)
    milliseconds = sorted(1000 * second for second in seconds)
    print(
        f"take and release a lease, {ROUNDS} times: median {statistics.median(milliseconds):.2f} "
        f"ms, 99th percentile {milliseconds[ROUNDS * 99 // 100]:.2f} ms"
    )


if __name__ == "__main__":
    main()
