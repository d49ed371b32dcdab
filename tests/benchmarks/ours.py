"""Our side of the comparison: `ocr-assets run` in a process of its own, with nothing to reuse."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.measure import Cost, measure_command
from tests.benchmarks.settings import REPOSITORY, clean_environment


@dataclass(frozen=True)
class OurJob:
    """What came of a job.

    Attributes:
        cost: What it took.
        ratios: `ocr_area_ratio` by the clip's name.
    """

    cost: Cost
    ratios: dict[str, float]


def run_our_job(
    clips: Sequence[Path],
    *,
    frames: int,
    scratch: Path,
    variables: Mapping[str, str],
    program: Sequence[str] = ("ocr_assets.cli",),
) -> OurJob:
    """Filters clips with `ocr-assets run`, into fresh tables and a fresh Dagster instance.

    Args:
        clips: One sample each.
        frames: Frames per clip.
        scratch: An empty folder for all that it writes.
        variables: Settings, as environment variables.
        program: The module that is run, and its first arguments.
    """
    source, data, home, state = (
        scratch / name for name in ("source", "data", "dagster_home", "state")
    )
    for folder in (source, home, state):
        folder.mkdir()
    state.chmod(0o700)
    (home / "dagster.yaml").write_bytes((REPOSITORY / "dagster.yaml").read_bytes())
    for clip in clips:
        (source / clip.name).hardlink_to(clip)
    words = ["run", "--json", "--device", "cpu", "--frame-sample-num", str(frames)]
    folders = ["--source", str(source), "--data", str(data)]
    cost = measure_command(
        [sys.executable, "-m", *program, *words, *folders],
        environment={
            **clean_environment(),
            "PYTHONPATH": str(REPOSITORY),
            "DAGSTER_HOME": str(home),
            "OCR_ASSETS_STATE": str(state),
            **variables,
        },
        folder=scratch,
        log=scratch / "log.txt",
    )
    # The last line is the summary; warnings may come before it.
    summary = json.loads((scratch / "log.txt").read_text().splitlines()[-1])
    ratios = {
        Path(sample["videos"][0]).name: float(sample["ocr_area_ratio"][0])
        for sample in summary["samples"]
    }
    return OurJob(cost, ratios)
