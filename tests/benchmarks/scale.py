"""Section `scale`: what a unit of work costs all those it passes, and how far that goes.

The first tables are measured here. The last ones are worked out from them by `cluster_model`, with
a GPU's frames a second, which this machine need not have, from README.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tests.benchmarks.apart import run_apart
from tests.benchmarks.cluster_model import Cluster, Costs
from tests.benchmarks.forecast import forecast_notes, forecast_table
from tests.benchmarks.inputs import make_clips
from tests.benchmarks.measure import paired_ratios, spread
from tests.benchmarks.report import Section, Table, Target, milliseconds, seconds, times
from tests.benchmarks.settings import REPOSITORY, Settings, clean_environment, progress
from tests.compute.node_site.sitecustomize import FAKE_VARIABLE

ENGINES = ("local", "ray")
PHASES = ("begin", "units", "commit")  # of a step: up to the first finished unit, to the last, then
UNITS, QUICK_UNITS = (200, 2_000, 20_000), (10, 40)
PARTS, QUICK_PARTS = (200, 2_000, 20_000), (10, 40)
FRAMES_A_SMALL_UNIT = 4
# Against a plain loop: so many units that beginning and ending hardly count.
BARE = {"units": 60, "frames": 256, "width": 320, "height": 180}
QUICK_BARE = {"units": 12, "frames": 16, "width": 64, "height": 48}
ACTORS = 2
DAYS, PARTS_A_DAY = 365, 300
QUICK_DAYS, QUICK_PARTS_A_DAY = 5, 10
CLIP_SECONDS, SMALL_CLIPS = 30, 50
WIDTH, HEIGHT, PART_FRAMES = 1280, 720, 96  # about 64 MiB
IMAGE_BYTES = 0.75 * WIDTH * HEIGHT  # of real clips, on average, in lossless WebP
GPU_FRAMES_A_SECOND = 300.0  # of that size on an H100, from images to boxes: README
FRAMES_A_VIDEO = 3
NODES, GPUS_A_NODE = (1, 8, 64), (1, 8)


def measure_scale(settings: Settings) -> Section:
    """Measures the parts, then works out the whole."""
    quick = settings.quick
    [clip] = make_clips("long", lengths=[10 if quick else CLIP_SECONDS])
    small = make_clips("growth", count=4 if quick else SMALL_CLIPS)
    work = _found(
        "work_process",
        clip=str(clip),
        small=str(small[0].parent),
        part_frames=6 if quick else PART_FRAMES,
        rounds=settings.rounds,
    )
    tables = _found(
        "tables_process",
        counts=QUICK_PARTS if quick else PARTS,
        days=QUICK_DAYS if quick else DAYS,
        parts_a_day=QUICK_PARTS_A_DAY if quick else PARTS_A_DAY,
    )
    bare = _found(
        "bare_ray_process",
        actors=ACTORS,
        rounds=settings.rounds,
        **(QUICK_BARE if quick else BARE),
    )
    drivers = [
        _found("driver_process", engine=engine, parts=units, frames=FRAMES_A_SMALL_UNIT)
        for units in (QUICK_UNITS if quick else UNITS)
        for engine in ENGINES
    ]
    figures = {"work": work, "tables": tables, "bare": bare, "drivers": drivers}
    costs = costs_of(figures)
    return Section(
        name="scale",
        tables=[
            _work_table(work),
            _driver_table(drivers),
            _bare_table(bare),
            _partition_table(tables["partitions"]),
            _log_table(tables["table"]),
            forecast_table(
                costs, [Cluster(nodes, gpus) for gpus in GPUS_A_NODE for nodes in NODES]
            ),
        ],
        targets=_targets(drivers, bare, tables["partitions"]),
        figures={**figures, "costs": asdict(costs)},
        notes=forecast_notes(costs),
    )


def _found(module: str, **arguments: Any) -> Any:
    """What a part has found, which is said at once: all of them together take long."""
    progress(f"scale: {module} {arguments}")
    # Python, on Ray's nodes too, loads a detector that does nothing; but for what measures it.
    site = REPOSITORY / "tests" / "compute" / "node_site"
    environment = {
        **clean_environment(),
        "PYTHONPATH": f"{site}:{REPOSITORY}",
        FAKE_VARIABLE: "tests.benchmarks.null_detector",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    if module == "work_process":
        environment = clean_environment()
    found = run_apart(module, environment=environment, **arguments)
    progress(json.dumps(found))
    return found


def costs_of(figures: dict[str, Any]) -> Costs:
    """What the model needs, from what was measured."""
    work, largest = figures["work"], figures["tables"]["partitions"][-1]
    waits = {int(count): each for count, each in figures["bare"]["wait_seconds"].items()}
    few, many = min(waits), max(waits)
    driver_seconds = _growth(figures["drivers"], "ray", "thread_cpu_seconds")
    return Costs(
        video_bytes=work["clip_bytes"],
        frames_a_video=FRAMES_A_VIDEO,
        image_bytes=IMAGE_BYTES,
        part_frames=PART_FRAMES,
        inspect_seconds=spread(work["inspect_clip"]).median,
        sample_seconds=spread(work["sample"]).median,
        decode_image_seconds=spread(work["decode_image"]).median,
        gpu_frames_a_second=GPU_FRAMES_A_SECOND,
        sample_driver_seconds=driver_seconds,
        boxes_driver_seconds=driver_seconds,
        wait_seconds=max(waits[many] - waits[few], 0.0) / (many - few),
        commit_seconds=largest["commit_seconds"] / largest["parts"],
    )


def _growth(drivers: Sequence[dict[str, Any]], engine: str, what: str) -> float:
    """Of each unit more: what a run takes that has nothing to do is left out."""
    fewest, *_, most = [each for each in drivers if each["engine"] == engine]
    return float((most[what] - fewest[what]) / (most["parts"] - fewest["parts"]))


def _of_most(drivers: Sequence[dict[str, Any]], engine: str, what: str) -> float:
    """What a run with the most units takes, in terms of one with the fewest."""
    fewest, *_, most = [each for each in drivers if each["engine"] == engine]
    return float(most[what] / fewest[what])


def _work_table(work: dict[str, Any]) -> Table:
    clip = f"a clip of {CLIP_SECONDS} s, {WIDTH}x{HEIGHT}, {work['clip_bytes'] / 1e6:.1f} MB"
    part = f"a part of {work['part_frames']} frames, {work['part_bytes'] / 1e6:.1f} MB"
    rows = {
        "look at a tiny clip": "inspect_small",
        f"look at {clip}": "inspect_clip",
        f"sample {FRAMES_A_VIDEO} frames of it": "sample",
        "decode an image": "decode_image",
        f"write {part}, local disk": "write_part",
        "read it": "read_part",
        f"detect, {WIDTH}x{HEIGHT}, a frame a core": "detect",
    }
    return Table(
        "measured: seconds of one core",
        ["", "takes"],
        [[name, milliseconds(work[key])] for name, key in rows.items()],
    )


def _driver_table(drivers: Sequence[dict[str, Any]]) -> Table:
    return Table(
        f"measured: `ocr_boxes`, {FRAMES_A_SMALL_UNIT} tiny frames a unit, a detector that does "
        "nothing; the process that drives the step, local: with the detector in it",
        [
            "engine",
            "units",
            "wall a unit",
            "own CPU a unit",
            "step's thread",
            "peak: begin",
            "units",
            "commit",
        ],
        [
            [
                each["engine"],
                str(each["parts"]),
                *(
                    milliseconds([each[what] / each["parts"]])
                    for what in ("wall_seconds", "process_cpu_seconds", "thread_cpu_seconds")
                ),
                *(f"{each[f'{phase}_peak_bytes'] / 2**20:.0f} MiB" for phase in PHASES),
            ]
            for each in drivers
        ],
    )


def _bare_table(bare: dict[str, Any]) -> Table:
    plain, _, _ = bare["seconds"].values()
    return Table(
        f"measured: {bare['units']} units of {bare['frames']} frames by {bare['actors']} actors, "
        "the same detector",
        ["", "seconds", "a unit and actor", "of the plain loop"],
        [
            [
                name,
                seconds(taken),
                milliseconds([one * bare["actors"] / bare["units"] for one in taken]),
                times(paired_ratios(taken, plain)),
            ]
            for name, taken in bare["seconds"].items()
        ],
    )


def _partition_table(partitions: Sequence[dict[str, Any]]) -> Table:
    columns = {
        "commit": "commit_seconds",
        "replace": "replace_seconds",
        "a note": "note_seconds",
        "open": "open_seconds",
        "list parts": "parts_seconds",
        "count rows": "row_count_seconds",
        "mean ratio": "ratios_seconds",
        "list folder": "list_seconds",
    }
    return Table(
        "measured: a table of one partition of so many parts of 256 rows, local disk",
        ["parts", *columns, "log"],
        [
            [
                str(each["parts"]),
                *(f"{each[key]:.3f} s" for key in columns.values()),
                f"{each['commit_log_bytes'] / 1e6:.1f} MB",
            ]
            for each in partitions
        ],
    )


def _log_table(table: dict[str, Any]) -> Table:
    rows = {
        "commit of the first days": spread(table["commit_seconds"][:5]).median,
        "of the last": spread(table["commit_seconds"][-5:]).median,
        "open": table["open_seconds"],
        "list a day's parts": table["parts_seconds"],
        "count a day's rows": table["row_count_seconds"],
        "list the days": table["dates_seconds"],
        "parts of 30 days": table["near_seconds"],
        "checkpoint the log": table["checkpoint_seconds"],
        "open after that": table["open_checkpoint_seconds"],
    }
    return Table(
        f"measured: a table of {table['days']} days of {table['parts_a_day']} parts, its log alone "
        f"({table['log_bytes'] / 1e6:.0f} MB, checkpoint {table['checkpoint_bytes'] / 1e6:.1f} MB)",
        ["", "seconds"],
        [[name, f"{value:.3f}"] for name, value in rows.items()],
    )


def _targets(
    drivers: Sequence[dict[str, Any]],
    bare: dict[str, Any],
    partitions: Sequence[dict[str, Any]],
) -> list[Target]:
    plain, pipeline, engine = bare["seconds"].values()
    largest = partitions[-1]
    return [
        Target(
            "engine / plain loop over Ray actors, same work",
            spread(paired_ratios(engine, pipeline)).median,
            1.1,
            "<=",
        ),
        Target(
            "engine / plain loop, shortest code",
            spread(paired_ratios(engine, plain)).median,
            1.1,
            "<=",
            remark="frame after frame, no threads, no batches",
        ),
        *(
            Target(
                f"driver's memory while units are done, {name}, most units / fewest",
                _of_most(drivers, name, "units_peak_bytes"),
                1.1,
                "<=",
            )
            for name in ENGINES
        ),
        *(
            Target(
                f"driver's memory for the commit, {name}, for each part more",
                _growth(drivers, name, "commit_peak_bytes") / 1024,
                8.0,
                "<=",
                " KiB",
            )
            for name in ENGINES
        ),
        Target(f"commit of {largest['parts']} parts", largest["commit_seconds"], 30.0, "<=", " s"),
    ]
