"""Section `growth`: whether a frame of a large day costs more than one of a small day."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.inputs import make_clips
from tests.benchmarks.measure import Cost, paired_ratios, spread
from tests.benchmarks.ours import run_our_job
from tests.benchmarks.report import Section, Table, Target, gibibytes, milliseconds, seconds
from tests.benchmarks.settings import Settings, progress, scratch_folder

COUNTS = (20, 200, 2000)
QUICK_COUNTS = (2, 4, 8)
SHORT_JOBS_REPEATED = 3  # jobs of seconds: their median steadies what is divided by


def measure_growth(settings: Settings) -> Section:
    """Days of 128x96 clips, one frame each; start and load are those of a job on a tiny clip."""
    counts = QUICK_COUNTS if settings.quick else COUNTS
    [tiny] = make_clips("tiny")
    clips = make_clips("growth", count=max(counts))
    empty: list[Cost] = []
    costs: dict[int, list[Cost]] = {count: [] for count in counts}
    for _ in range(settings.rounds):
        empty.append(_median_job([tiny]))
        for count in counts:
            if count == counts[-1]:
                costs[count].append(_job(clips[:count]))
            else:
                costs[count].append(_median_job(clips[:count]))
    per_frame = {
        count: [
            cost.above(base).wall_seconds / count
            for cost, base in zip(costs[count], empty, strict=True)
        ]
        for count in counts
    }
    peaks = {count: [cost.peak_bytes for cost in costs[count]] for count in counts}
    smallest, largest = counts[0], counts[-1]
    growth = paired_ratios(per_frame[largest], per_frame[smallest])
    memory = paired_ratios(peaks[largest], peaks[smallest])
    return Section(
        name="growth",
        tables=[
            Table(
                "`ocr-assets run` on clips of 128x96, one frame each",
                ["clips", "wall", "a frame, load excluded", "peak memory"],
                [
                    [
                        str(count),
                        seconds([cost.wall_seconds for cost in costs[count]]),
                        milliseconds(per_frame[count]),
                        gibibytes(peaks[count]),
                    ]
                    for count in counts
                ],
            )
        ],
        targets=[
            Target(f"a frame, {largest} / {smallest} clips", spread(growth).median, 1.1, "<=")
        ],
        figures={
            "start_and_load_seconds": [cost.wall_seconds for cost in empty],
            "wall_seconds": {n: [cost.wall_seconds for cost in costs[n]] for n in counts},
            "cpu_seconds": {n: [cost.cpu_seconds for cost in costs[n]] for n in counts},
            "seconds_per_frame": per_frame,
            "peak_bytes": peaks,
            "growth": growth,
            "peak_growth": memory,
        },
        notes=[f"peak memory, {largest} / {smallest} clips: {spread(memory).median:.2f}x"],
    )


def _median_job(clips: Sequence[Path]) -> Cost:
    """The one of several jobs that took neither least nor most."""
    costs = sorted((_job(clips) for _ in range(SHORT_JOBS_REPEATED)), key=_wall)
    peak = statistics.median(cost.peak_bytes for cost in costs)
    middle = costs[len(costs) // 2]
    return Cost(middle.wall_seconds, middle.cpu_seconds, int(peak))


def _job(clips: Sequence[Path]) -> Cost:
    progress(f"growth: {len(clips)} clips")
    with scratch_folder() as scratch:
        return run_our_job(clips, frames=1, scratch=scratch, variables={}).cost


def _wall(cost: Cost) -> float:
    return cost.wall_seconds
