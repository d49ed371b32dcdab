"""Section `sampling`: three frames out of long clips, the reference's function against ours."""

from pathlib import Path

from tests.benchmarks.apart import run_apart
from tests.benchmarks.inputs import make_clips
from tests.benchmarks.measure import paired_ratios, spread
from tests.benchmarks.reference import Reference, prepare_reference
from tests.benchmarks.report import Section, Table, Target, milliseconds, times
from tests.benchmarks.settings import Settings, progress, scratch_folder

FRAMES = 3
MINUTES = (10, 60)
QUICK_MINUTES = (1, 3)


def measure_sampling(settings: Settings) -> Section:
    """Both on the same clips in turn, each time in a process of its own."""
    reference = prepare_reference()
    minutes = QUICK_MINUTES if settings.quick else MINUTES
    [tiny] = make_clips("tiny")
    clips = make_clips("long", lengths=[60 * each for each in minutes])
    theirs: dict[int, list[float]] = {each: [] for each in minutes}
    mine: dict[int, list[float]] = {each: [] for each in minutes}
    apart_seconds = 0.0
    for _ in range(settings.rounds):
        for each, clip in zip(minutes, clips, strict=True):
            progress(f"sampling: {each} min")
            _read_through(clip)
            their_seconds, their_timestamps = _reference(reference, clip, tiny)
            our_seconds, our_timestamps = _ours(clip, tiny)
            theirs[each].append(their_seconds)
            mine[each].append(our_seconds)
            apart_seconds = max(
                apart_seconds,
                *(abs(a - b) for a, b in zip(their_timestamps, our_timestamps, strict=True)),
            )
    short, long = minutes
    ratios = {each: paired_ratios(theirs[each], mine[each]) for each in minutes}
    growth = paired_ratios(mine[long], mine[short])
    return Section(
        name="sampling",
        tables=[
            Table(
                f"{FRAMES} frames of a clip, 1280x720, H.264, 10 s between key frames, B-frames",
                ["clip", "reference", "ours", "reference / ours"],
                [
                    [
                        f"{each} min",
                        milliseconds(theirs[each]),
                        milliseconds(mine[each]),
                        times(ratios[each]),
                    ]
                    for each in minutes
                ],
            )
        ],
        targets=[
            Target(f"{short} min, reference / ours", spread(ratios[short]).median, 2.0, ">="),
            Target(f"ours, {long} min / {short} min", spread(growth).median, 1.3, "<="),
        ],
        figures={
            "reference_seconds": theirs,
            "our_seconds": mine,
            "ratios": ratios,
            "growth": growth,
            "timestamps_apart_seconds": apart_seconds,
        },
        notes=[f"timestamps of the frames differ by {apart_seconds:.3f} s at most"],
    )


def _read_through(clip: Path) -> None:
    """So that it is in the page cache for both."""
    with clip.open("rb", buffering=0) as file:
        while file.read(2**22):
            pass


def _reference(reference: Reference, clip: Path, tiny: Path) -> tuple[float, list[float]]:
    with scratch_folder() as scratch:
        found = run_apart(
            "reference_sampling_process",
            python=reference.python,
            environment=reference.environment(scratch),
            clip=str(clip),
            frames=FRAMES,
            warm_up=str(tiny),
        )
    return found["seconds"], found["timestamps"]


def _ours(clip: Path, tiny: Path) -> tuple[float, list[float]]:
    found = run_apart("sampling_process", clip=str(clip), frames=FRAMES, warm_up=str(tiny))
    return found["seconds"], found["timestamps"]
