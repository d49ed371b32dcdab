"""Section `ceiling`: what the pipeline can feed to a network that costs nothing.

The step `ocr_boxes` runs as it always does: frames are read from their part files, images decoded,
boxes extracted, ratios computed, rows written. Only the forward pass is replaced, by score maps
that are there at once; they are those of the real network for the same kind of frame.
"""

from typing import Any

from tests.benchmarks.apart import run_apart
from tests.benchmarks.measure import spread
from tests.benchmarks.report import Section, Table, Target, plain
from tests.benchmarks.settings import Settings

WIDTH, HEIGHT = 1280, 720
KINDS = {"little": "a title and a subtitle", "dense": "a page full of words"}
# So many that starting and committing hardly count.
FRAMES = {"little": 2048, "dense": 512}
QUICK_FRAMES = 32
EXTRACTIONS = {False: "in threads, as for the CPU", True: "in processes, as for a GPU"}


def measure_ceiling(settings: Settings) -> Section:
    """Frames a second of the whole step, for frames with a little text and for full pages."""
    figures: dict[str, Any] = {
        f"{kind}, {where}": run_apart(
            "ceiling_process",
            width=WIDTH,
            height=HEIGHT,
            frames=QUICK_FRAMES if settings.quick else FRAMES[kind],
            dense=kind == "dense",
            in_processes=in_processes,
            rounds=settings.rounds,
        )
        for kind in KINDS
        for in_processes, where in EXTRACTIONS.items()
    }
    fastest = max(
        spread(figures[f"little, {where}"]["frames_per_second"]).median
        for where in EXTRACTIONS.values()
    )
    return Section(
        name="ceiling",
        tables=[
            Table(
                f"frames of {WIDTH}x{HEIGHT}, the network left out",
                ["frames with", "extraction", "boxes", "MB a frame", "frames/s", "CPU ms a frame"],
                [
                    _row(what, where, figures[f"{kind}, {where}"])
                    for kind, what in KINDS.items()
                    for where in EXTRACTIONS.values()
                ],
            )
        ],
        targets=[Target("pipeline ceiling, a little text", fastest, 100.0, ">=", " frames/s")],
        figures=figures,
    )


def _row(what: str, where: str, found: dict[str, Any]) -> list[str]:
    return [
        what,
        where,
        str(found["boxes"]),
        f"{found['image_bytes'] / 1e6:.2f}",
        plain(found["frames_per_second"], 0),
        plain([1000 * one for one in found["cpu_seconds"]], 1),
    ]
