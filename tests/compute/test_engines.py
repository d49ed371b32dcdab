"""Which engine does the work, and what is said where it cannot."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from ocr_assets.assets.failures import describe, may_be_retried
from ocr_assets.configured import configured
from ocr_assets.resources.compute import ComputeResource
from ocr_assets.settings import SettingError
from tests.clips import numbered, write_video
from tests.compute.ray_nodes import ROOT
from tests.pipeline import DAY, materialize_day, rows

WITHOUT_RAY = """
import sys
sys.modules["ray"] = sys.modules["dagster_ray"] = None  # as where the extra is not installed
from pathlib import Path
from tests.pipeline import materialize_day, sampled_frames, video_manifest
from ocr_assets.resources.compute import ComputeResource
source, data, engine = sys.argv[1:]
materialize_day(
    Path(source),
    Path(data),
    assets=[video_manifest, sampled_frames],
    compute=ComputeResource(engine=engine),
)
"""


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos" / DAY
    folder.mkdir(parents=True)
    for count in (3, 4, 5):
        write_video(folder / f"{count}.mp4", numbered(count))
    return folder.parent


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_without_the_extra_all_but_ray_works_and_ray_says_what_to_install(
    videos: Path, tmp_path: Path, engine: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RAY, str(videos), str(tmp_path / "data"), engine],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode == 0) == (engine == "local"), done.stderr
    if engine == "ray":
        assert "the engine `ray` of the resource compute cannot be loaded" in done.stderr


def test_what_to_install_is_said_and_not_tried_again() -> None:
    with pytest.raises(ImportError) as raised, pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "dagster_ray", None)
        patch.delitem(sys.modules, "ocr_assets.compute.on_ray.cluster", raising=False)
        with ComputeResource(engine="ray").yield_for_execution(dg.build_init_resource_context()):
            pytest.fail("there is nothing to connect with")
    assert "`pip install 'ocr-assets[ray]'`" in describe(raised.value)
    assert not may_be_retried(raised.value)


def test_a_cluster_on_this_host_does_a_day_with_the_real_detector(
    videos: Path, tmp_path: Path
) -> None:
    materialize_day(videos, tmp_path / "here")
    materialize_day(videos, tmp_path / "there", compute=ComputeResource(engine="ray"))
    found, expected = ([*rows(tmp_path / data, "ocr_boxes")] for data in ("there", "here"))
    for row in (*found, *expected):
        del row["milliseconds"]
    assert found == expected


OWN_CLUSTER = """
import subprocess, sys
import dagster as dg
from ocr_assets.resources.compute import ComputeResource
with ComputeResource(engine="ray").yield_for_execution(
    dg.build_init_resource_context()
):
    import ray
    address = ray.get_runtime_context().gcs_address
    print(subprocess.run([sys.executable, "-c", sys.argv[1], address]).returncode)
"""
INTRUDER = """
import os, sys
for name in [name for name in os.environ if name.startswith("RAY_")]:
    del os.environ[name]
os.environ["RAY_AUTH_MODE"] = "disabled"
import ray
try:
    ray.init(sys.argv[1])
except Exception:
    sys.exit(3)
"""


def test_a_cluster_that_a_run_has_started_lets_nobody_else_in(tmp_path: Path) -> None:
    environment = {name: text for name, text in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", OWN_CLUSTER, INTRUDER],
        env=environment | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.stdout.split()[-1:] == ["3"], done.stdout + done.stderr
    assert "InvalidAuthToken" in done.stderr
    assert not (tmp_path / ".ray").exists()


UNANSWERED = """
import dagster as dg
from ocr_assets.assets.failures import describe, may_be_retried
from ocr_assets.resources.compute import ComputeResource
compute = ComputeResource(engine="ray", address="ray://127.0.0.1:1")
try:
    with compute.yield_for_execution(dg.build_init_resource_context()):
        pass
except OSError as error:
    print(may_be_retried(error), describe(error))
"""


def test_a_cluster_that_does_not_answer_is_named() -> None:
    # In a process of its own: Ray's client leaves one in which it failed unfit for anything else.
    done = subprocess.run(
        [sys.executable, "-c", UNANSWERED],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert "True Ray at ray://127.0.0.1:1 cannot be used" in done.stdout, done.stderr
    assert "OCR_ASSETS_COMPUTE_ADDRESS" in done.stdout


@pytest.mark.parametrize(
    ("variable", "text"),
    [("ENGINE", "spark"), ("MAX_TRIES", "0"), ("NAMESPACE", "a b"), ("WORKERS", "3")],
)
def test_settings_that_make_no_sense_are_refused_at_the_door(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setenv(f"OCR_ASSETS_COMPUTE_{variable}", text)
    with pytest.raises(SettingError, match=f"OCR_ASSETS_COMPUTE_{variable}"):
        configured(ComputeResource, "compute")
