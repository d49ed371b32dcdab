"""Section `job`: a dataset filtered from start to end, by the reference and by `ocr-assets run`.

A job on a single tiny clip tells what starting and loading take; taken off, the rest is the work.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ocr_assets.gpu.host import usable_cores
from tests.benchmarks.inputs import make_clips
from tests.benchmarks.machine import Machine, describe_machine
from tests.benchmarks.measure import Cost, paired_ratios, spread
from tests.benchmarks.ours import run_our_job
from tests.benchmarks.reference import Reference, prepare_reference, run_reference_job
from tests.benchmarks.report import Section, Table, Target, gibibytes, seconds, times
from tests.benchmarks.settings import Settings, progress, scratch_folder

FRAMES = 3
THRESHOLDS = (0.05, 0.1, 0.2)
PRECISIONS = ("exact", "auto")
PRECISION_VARIABLE = "OCR_ASSETS_EASYOCR_PRECISION"


@dataclass
class Rounds:
    """What one side took, a round each.

    Attributes:
        whole: The job.
        empty: A job on a tiny clip, just before it.
        ratios: Area ratio by clip, from each round.
    """

    whole: list[Cost] = field(default_factory=list)
    empty: list[Cost] = field(default_factory=list)
    ratios: list[dict[str, float]] = field(default_factory=list)

    def wall(self) -> list[float]:
        """Seconds, start and model load included."""
        return [cost.wall_seconds for cost in self.whole]

    def wall_of_work(self) -> list[float]:
        """Seconds without them."""
        return [cost.wall_seconds for cost in self.work()]

    def cpu(self) -> list[float]:
        """CPU seconds, start and model load included."""
        return [cost.cpu_seconds for cost in self.whole]

    def cpu_of_work(self) -> list[float]:
        """CPU seconds without them."""
        return [cost.cpu_seconds for cost in self.work()]

    def work(self) -> list[Cost]:
        """Each round less its job on a tiny clip."""
        return [whole.above(empty) for whole, empty in zip(self.whole, self.empty, strict=True)]


@dataclass(frozen=True)
class TimedJob:
    """A job of ours, and the CPU seconds of it that were spent in the forward pass."""

    cost: Cost
    forward_cpu_seconds: float


def measure_job(settings: Settings) -> Section:
    """The reference with its best `np`, then with it, in turn, ours in each precision."""
    reference = prepare_reference()
    folder = str(settings.clips) if settings.clips else None
    clips = make_clips("job", count=settings.job_clips, folder=folder)
    [tiny] = make_clips("tiny")
    for precision in PRECISIONS:
        _our_job([tiny], precision)  # a setting that fails should do so now; it warms up, too
    searched = {
        processes: _reference_job(reference, clips, processes)[0]
        for processes in range(1, usable_cores() + 1)
    }
    best = min(searched, key=lambda processes: searched[processes].wall_seconds)
    sides = {name: Rounds() for name in ("reference", *PRECISIONS)}
    timed = {name: _timed_job(clips, name) for name in PRECISIONS}
    for number in range(settings.rounds):
        names = list(sides) if number % 2 == 0 else list(reversed(sides))
        for name in names:
            side = sides[name]
            if name == "reference":
                side.empty.append(_reference_job(reference, [tiny], best)[0])
                cost, ratios = _reference_job(reference, clips, best)
            else:
                side.empty.append(_our_job([tiny], name)[0])
                cost, ratios = _our_job(clips, name)
            side.whole.append(cost)
            side.ratios.append(ratios)
    single = sides["reference"].whole if best == 1 else [searched[1]]
    return _section(sides, timed, searched, best, single, describe_machine())


def _reference_job(
    reference: Reference, clips: Sequence[Path], processes: int
) -> tuple[Cost, dict[str, float]]:
    progress(f"job: {len(clips)} clips, reference, np={processes}")
    with scratch_folder() as scratch:
        job = run_reference_job(
            reference, clips, processes=processes, frames=FRAMES, scratch=scratch
        )
    return job.cost, job.ratios


def _our_job(clips: Sequence[Path], precision: str) -> tuple[Cost, dict[str, float]]:
    progress(f"job: {len(clips)} clips, ours, {precision}")
    with scratch_folder() as scratch:
        variables = {PRECISION_VARIABLE: precision}
        job = run_our_job(clips, frames=FRAMES, scratch=scratch, variables=variables)
    return job.cost, job.ratios


def _timed_job(clips: Sequence[Path], precision: str) -> TimedJob:
    progress(f"job: {len(clips)} clips, ours, {precision}, with a clock around the forward pass")
    with scratch_folder() as scratch:
        clock = scratch / "clock.txt"
        job = run_our_job(
            clips,
            frames=FRAMES,
            scratch=scratch,
            variables={PRECISION_VARIABLE: precision},
            program=("tests.benchmarks.timed_job_process", str(clock)),
        )
        return TimedJob(job.cost, float(clock.read_text()))


def _section(
    sides: Mapping[str, Rounds],
    timed: Mapping[str, TimedJob],
    searched: Mapping[int, Cost],
    best: int,
    single: Sequence[Cost],
    machine: Machine,
) -> Section:
    clip_count = len(sides["reference"].ratios[0])
    agreements = {
        name: {threshold: _worst_agreement(sides, name, threshold) for threshold in THRESHOLDS}
        for name in PRECISIONS
    }
    shares = {name: forward_shares(timed[name], sides[name]) for name in PRECISIONS}
    single_peak = spread([cost.peak_bytes for cost in single]).median
    peaks = {name: [c.peak_bytes / single_peak for c in sides[name].whole] for name in PRECISIONS}
    apart = {name: _furthest_apart(sides, name) for name in PRECISIONS}
    return Section(
        name="job",
        tables=[
            Table(
                f"{clip_count} clips, {FRAMES} frames each, start and model load included",
                ["", "wall", "CPU", "peak memory", "reference / ours", "the same, CPU"],
                [
                    [
                        _title(name, best),
                        seconds(side.wall()),
                        seconds(side.cpu()),
                        gibibytes([cost.peak_bytes for cost in side.whole]),
                        times(paired_ratios(sides["reference"].wall(), side.wall())),
                        times(paired_ratios(sides["reference"].cpu(), side.cpu())),
                    ]
                    for name, side in sides.items()
                ],
            ),
            Table(
                "the same without start and load: less a job on one frame of 64x64",
                ["", "start and load", "wall", "CPU", "reference / ours", "the same, CPU"],
                [
                    [
                        _title(name, best),
                        seconds([cost.wall_seconds for cost in side.empty]),
                        seconds(side.wall_of_work()),
                        seconds(side.cpu_of_work()),
                        times(
                            paired_ratios(sides["reference"].wall_of_work(), side.wall_of_work())
                        ),
                        times(paired_ratios(sides["reference"].cpu_of_work(), side.cpu_of_work())),
                    ]
                    for name, side in sides.items()
                ],
            ),
            Table(
                "the reference by its number of processes, one run each",
                ["np", "wall", "CPU", "peak memory"],
                [
                    [
                        str(processes),
                        seconds([cost.wall_seconds]),
                        seconds([cost.cpu_seconds]),
                        gibibytes([cost.peak_bytes]),
                    ]
                    for processes, cost in searched.items()
                ],
            ),
            Table(
                "verdicts that are the reference's, by max_area_ratio, in the worst round",
                ["", *(str(threshold) for threshold in THRESHOLDS), "ratios differ by at most"],
                [
                    [
                        name,
                        *(f"{equal} of {clip_count}" for equal in agreements[name].values()),
                        f"{apart[name]:.2g}",
                    ]
                    for name in PRECISIONS
                ],
            ),
            Table(
                "CPU seconds of the forward pass, share of our job's, one run each",
                ["", "whole job", "without start and load"],
                [
                    [
                        name,
                        f"{100 * shares[name]['whole']:.1f} %",
                        f"{100 * shares[name]['work']:.1f} %",
                    ]
                    for name in PRECISIONS
                ],
            ),
        ],
        targets=_targets(sides, agreements, shares, peaks, clip_count, machine),
        figures={
            "clips": clip_count,
            "best_np": best,
            "reference_by_np": {str(np): dataclasses.asdict(c) for np, c in searched.items()},
            "rounds": {name: dataclasses.asdict(side) for name, side in sides.items()},
            "equal_verdicts": agreements,
            "ratios_apart": apart,
            "timed": {name: dataclasses.asdict(job) for name, job in timed.items()},
            "forward_share": shares,
            "peak_against_np_1": peaks,
        },
    )


def _targets(
    sides: Mapping[str, Rounds],
    agreements: Mapping[str, Mapping[float, int]],
    shares: Mapping[str, Mapping[str, float]],
    peaks: Mapping[str, Sequence[float]],
    clip_count: int,
    machine: Machine,
) -> list[Target]:
    reference = sides["reference"]
    targets = []
    for name, bound in (("exact", 2.2), ("auto", 4.5)):
        # Without bfloat16 in hardware `auto` is `exact`.
        applies = name == "exact" or bool(machine.bfloat16)
        remark = "" if applies else "bfloat16 in hardware: this CPU has none"
        for what, theirs, mine in (
            ("load included", reference.wall(), sides[name].wall()),
            ("without load", reference.wall_of_work(), sides[name].wall_of_work()),
        ):
            ratio = spread(paired_ratios(theirs, mine)).median if applies else None
            text = f"whole job, {name}, {what}"
            targets.append(Target(text, ratio, bound, ">=", "x", remark))
    for name in PRECISIONS:
        least = min(agreements[name].values())
        targets.append(Target(f"equal verdicts, {name}", least, clip_count, ">=", ""))
    for name in PRECISIONS:
        share = 100 * shares[name]["whole"]
        targets.append(Target(f"forward pass of CPU, {name}", share, 90.0, ">=", " %"))
    for name in PRECISIONS:
        peak = spread(peaks[name]).median
        targets.append(Target(f"peak memory, {name} / np=1", peak, 1.0, "<="))
    return targets


def _title(name: str, best: int) -> str:
    return f"reference, np={best}" if name == "reference" else name


def equal_verdicts(
    theirs: Mapping[str, float], ours: Mapping[str, float], max_area_ratio: float
) -> int:
    """How many clips both keep or both drop; one that only one side has counts as unequal."""
    return sum(
        clip in ours and (ratio <= max_area_ratio) == (ours[clip] <= max_area_ratio)
        for clip, ratio in theirs.items()
    )


def _worst_agreement(sides: Mapping[str, Rounds], name: str, threshold: float) -> int:
    pairs = zip(sides["reference"].ratios, sides[name].ratios, strict=True)
    return min(equal_verdicts(theirs, ours, threshold) for theirs, ours in pairs)


def _furthest_apart(sides: Mapping[str, Rounds], name: str) -> float:
    pairs = zip(sides["reference"].ratios, sides[name].ratios, strict=True)
    return max(
        abs(ratio - ours[clip])
        for theirs, ours in pairs
        for clip, ratio in theirs.items()
        if clip in ours
    )


def forward_shares(timed: TimedJob, side: Rounds) -> dict[str, float]:
    """The forward pass's share of a job's CPU seconds; of `work` those of an empty job are not."""
    empty = spread([cost.cpu_seconds for cost in side.empty]).median
    return {
        "whole": timed.forward_cpu_seconds / timed.cost.cpu_seconds,
        "work": timed.forward_cpu_seconds / (timed.cost.cpu_seconds - empty),
    }
