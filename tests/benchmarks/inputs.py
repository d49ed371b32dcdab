"""The benchmark's inputs; `clips` makes them, in a process of its own."""

from pathlib import Path
from typing import Any, Literal

from tests.benchmarks.apart import run_apart


def make_clips(kind: Literal["job", "tiny", "long", "growth"], **arguments: Any) -> list[Path]:
    """Clips of a kind, in the order they were asked for; made if they are not there yet."""
    return [Path(path) for path in run_apart("clips", kind=kind, **arguments)]
