"""What all sections of the benchmark are told."""

import contextlib
import datetime as dt
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE_VARIABLE = "OCR_ASSETS_BENCHMARK_CACHE"

# What would lead a measured program elsewhere.
LEFT_OUT = ("EASYOCR", "MODULE_PATH", "PYTHON", "VIRTUAL_ENV", "HF_", "DAGSTER_", "OCR_ASSETS_")


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        rounds: How often everything is done, reference and ours in turn.
        quick: Whether the settings are tiny: to see that it runs, not to learn anything.
        clips: Folder of clips to make the job's inputs from; None: the demo's and made ones.
        job_clips: How many the whole job has.
    """

    rounds: int
    quick: bool
    clips: Path | None
    job_clips: int


def progress(text: str) -> None:
    """Says on standard error what is being done, and since when."""
    print(f"{dt.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


def cache_folder() -> Path:
    """Where made clips and the reference are kept: `OCR_ASSETS_BENCHMARK_CACHE`, or the user's."""
    chosen = os.environ.get(CACHE_VARIABLE)
    folder = Path(chosen) if chosen else platformdirs.user_cache_path("ocr_assets_benchmarks")
    folder = folder.expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def clean_environment() -> dict[str, str]:
    """This process's variables without those that would lead a measured program elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT)}


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder beside the clips, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="scratch-", dir=cache_folder()) as folder:
        yield Path(folder)
