"""Section `gpu`: the whole of `ocr_boxes`' pipeline on a GPU against the bare forward pass."""

from tests.benchmarks.apart import run_apart
from tests.benchmarks.report import Section, Table, plain, times
from tests.benchmarks.settings import Settings

FRAMES = {"exact": 96, "auto": 768}  # by precision; a second or two of work
QUICK_FRAMES = {"exact": 16, "auto": 64}
BATCHES, QUICK_BATCHES = [1, 4, 8, 16], [1, 4]
WIDTH, HEIGHT = 1280, 720


def measure_gpu(settings: Settings) -> Section:
    """Frames a second by precision and batch size, images decoded and boxes extracted included."""
    found = run_apart(
        "gpu_process",
        width=WIDTH,
        height=HEIGHT,
        frames=QUICK_FRAMES if settings.quick else FRAMES,
        batches=QUICK_BATCHES if settings.quick else BATCHES,
        rounds=settings.rounds,
    )
    if found is None:
        note = "PyTorch sees no CUDA device: nothing was measured"
        return Section(name="gpu", tables=[], targets=[], figures={}, notes=[note])
    return Section(
        name="gpu",
        tables=[
            Table(
                f"{found['device']}, frames of {WIDTH}x{HEIGHT}: frames a second",
                ["precision", "batch", "forward pass", "pipeline", "pipeline / forward", "GiB"],
                [
                    [
                        row["precision"],
                        str(row["batch"]),
                        plain(row["forward"], 0),
                        plain(row["pipeline"], 0),
                        times(
                            [a / b for a, b in zip(row["pipeline"], row["forward"], strict=True)]
                        ),
                        f"{row['peak_bytes'] / 2**30:.2f}",
                    ]
                    for row in found["rows"]
                ],
            )
        ],
        targets=[],
        figures=found,
    )
