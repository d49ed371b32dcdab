"""`ocr-assets doctor`, with and without GPUs."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from ocr_assets.doctor import as_text, diagnose
from ocr_assets.gpu.snapshot import take_snapshot
from ocr_assets.resources.easyocr import EasyOCRResource
from tests.fake_nvml import GIB, FakeNvml, allocate

MIB = 1024**2
PROJECT = Path(__file__).parents[1]


@pytest.fixture
def easyocr(tmp_path: Path) -> EasyOCRResource:
    return EasyOCRResource(state_directory=str(tmp_path / "state"), footprint_bytes=2 * GIB)


def doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ocr_assets.cli", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_laptop_without_a_gpu_works_on_the_cpu(fake_nvml: FakeNvml) -> None:
    fake_nvml.set_init_error(9)
    result = doctor()
    assert (result.returncode, result.stderr) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines()[::-1])
    assert "on the CPU (frames of 1280x720)" in lines["plan"]
    assert lines["weights"].endswith("verified")
    assert lines["driver"] == "none"
    assert "no NVIDIA driver on this machine" in lines["note"]


def test_as_json_it_is_one_object(fake_nvml: FakeNvml) -> None:
    uuid = fake_nvml.add_gpu(24 * GIB, name="NVIDIA L4")
    result = doctor("--json")
    assert result.stderr == ""
    found: dict[str, Any] = json.loads(result.stdout)
    assert found["works"] is True
    assert found["driver_version"] == "580.00-fake"
    assert [(gpu["uuid"], gpu["torch_index"]) for gpu in found["gpus"]] == [(uuid, 0)]
    gpu, cpu = found["devices"]
    assert (gpu["slots_now"], gpu["slots_at_best"]) == (2, 2)
    assert found["slots_now"] == 2 + cpu["slots_now"]


def test_leases_are_shown_with_their_holders(fake_nvml: FakeNvml, easyocr: EasyOCRResource) -> None:
    uuid = fake_nvml.add_gpu(24 * GIB, name="NVIDIA L4")
    policy = easyocr.policy()
    ledger = policy.gpu_ledger(take_snapshot().gpus[0])
    with (
        allocate(fake_nvml.state, uuid, 1500 * MIB),
        ledger.take(2 * GIB, policy.gpu_limits, "ocr_boxes of 2026-01-31") as lease,
    ):
        lease.report_allocated(1500 * MIB)
        waiter = ledger.waiting(3 * GIB)
        text = as_text(diagnose(easyocr))
        waiter.close()
    assert "GPU 0: 2.0 GiB (1.5 GiB allocated) for 0 min: ocr_boxes of 2026-01-31 (" in text
    assert "waiting   GPU 0: 3.0 GiB" in text
    assert "2 readers on GPU 0 (24.0 GiB, 22.5 GiB free), 2.0 GiB each; " in text
    assert "NVIDIA L4, 24.0 GiB, 22.5 GiB free, 1.5 GiB used, cuda:0, GPU-" in text


def test_a_pytorch_that_does_not_see_the_gpu_is_pointed_out(
    fake_nvml: FakeNvml, easyocr: EasyOCRResource
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine's PyTorch sees a CUDA device")
    fake_nvml.add_gpu(24 * GIB)
    (problem,) = diagnose(easyocr).problems
    assert problem.startswith("NVML shows this process 1 to work on, but PyTorch, built")


def test_missing_weights_mean_that_nothing_works(easyocr: EasyOCRResource, tmp_path: Path) -> None:
    broken = easyocr.model_copy(update={"weights_directory": str(tmp_path)})
    diagnosis = diagnose(broken)
    assert not diagnosis.works
    assert any("EasyOCR's weights" in problem for problem in diagnosis.problems)


def test_a_state_directory_that_cannot_be_used_is_a_problem_not_a_crash(
    fake_nvml: FakeNvml, easyocr: EasyOCRResource, tmp_path: Path
) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    diagnosis = diagnose(easyocr)
    assert not diagnosis.works
    assert any("chmod 700" in problem for problem in diagnosis.problems)
    assert "chmod 700" in as_text(diagnosis)


def test_a_project_that_is_imported_from_a_folder_has_an_unknown_version(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    for package in (PROJECT / "ocr_assets", *Path(sysconfig.get_path("purelib")).iterdir()):
        if package.parent == PROJECT or "ocr_assets" not in package.name:
            (packages / package.name).symlink_to(package)
    program = (
        f"import sys; sys.path.append({str(packages)!r})\n"
        "from ocr_assets.cli import main; sys.exit(main(['doctor']))"
    )
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert ", ocr-assets unknown, dagster 1." in result.stdout
