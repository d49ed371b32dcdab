"""Measures the project against its reference, Data-Juicer's video_ocr_area_ratio_filter.

Reference and ours do the same work in turn, on the same clips and cores; ratios are those of paired
rounds, and figures are medians with their range. Let the machine be quiet.
"""

import argparse
import dataclasses
import datetime as dt
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.benchmarks.ceiling import measure_ceiling
from tests.benchmarks.detector import measure_detector
from tests.benchmarks.gpu import measure_gpu
from tests.benchmarks.growth import measure_growth
from tests.benchmarks.job import measure_job
from tests.benchmarks.machine import describe_machine, machine_lines
from tests.benchmarks.measure import MEMORY_NOTE, CommandFailedError
from tests.benchmarks.report import Section, print_section, section_json
from tests.benchmarks.sampling import measure_sampling
from tests.benchmarks.scale import measure_scale
from tests.benchmarks.settings import Settings, progress

SECTIONS: dict[str, Callable[[Settings], Section]] = {
    "job": measure_job,
    "detector": measure_detector,
    "sampling": measure_sampling,
    "ceiling": measure_ceiling,
    "growth": measure_growth,
    "gpu": measure_gpu,
    "scale": measure_scale,
}
ROUNDS, QUICK_ROUNDS = 5, 1
JOB_CLIPS, QUICK_JOB_CLIPS = 24, 3


def main() -> int:
    """Runs sections one after the other; each is printed, and the JSON written, as it ends.

    Returns:
        0, or 1 if a section failed; the others are done all the same.
    """
    parser = _parser()
    options = parser.parse_args()
    for name in set(options.sections) - SECTIONS.keys():
        parser.error(f"{name!r} is none of {', '.join(SECTIONS)}")
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    clips = options.clips.absolute() if options.clips else None
    job_clips = options.job_clips or (QUICK_JOB_CLIPS if options.quick else JOB_CLIPS)
    settings = Settings(rounds, options.quick, clips, job_clips)
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    machine = describe_machine()
    for line in [*machine_lines(machine), MEMORY_NOTE]:
        console.print(line, soft_wrap=True)
    if options.quick:
        console.print("QUICK: tiny settings; the figures say nothing")
    found: dict[str, Any] = {
        "started": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": dataclasses.asdict(machine),
        "settings": {
            "rounds": rounds,
            "quick": options.quick,
            "clips": str(clips or "made"),
            "job_clips": job_clips,
        },
        "sections": {},
    }
    status = 0
    for name in options.sections:
        progress(name)
        try:
            section = SECTIONS[name](settings)
        except CommandFailedError as error:
            print(f"section {name}: {error}", file=sys.stderr)
            status = 1
            continue
        print_section(section, console)
        found["sections"][name] = section_json(section)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "sections",
        nargs="*",
        default=list(SECTIONS),
        metavar="SECTION",
        help=f"which of {', '.join(SECTIONS)} (default: all)",
    )
    parser.add_argument(
        "--rounds",
        type=_positive,
        metavar="N",
        help=f"how often each is measured (default: {ROUNDS})",
    )
    parser.add_argument(
        "--clips",
        type=Path,
        metavar="FOLDER",
        help="MP4 clips to make the job's inputs from (default: the demo's and made ones)",
    )
    parser.add_argument(
        "--job-clips",
        type=_positive,
        metavar="N",
        help=f"how many clips the whole job has (default: {JOB_CLIPS})",
    )
    parser.add_argument("--quick", action="store_true", help="tiny settings, to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
