"""Fixtures: real parity clips where they are, and clips that the tests make."""

import json
import os
import secrets
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from ocr_assets.ocr.detector import ModelSettings
from ocr_assets.ocr.text_detector import TextDetector
from ocr_assets.settings import (
    POSTGRES_URL_FILE_VARIABLE,
    POSTGRES_URL_VARIABLE,
    STATE_VARIABLE,
)

pytest_plugins = ["tests.fake_nvml.fixtures", "tests.postgres", "tests.s3_server"]

# Ray reads it when it is imported, and would go by a token that the user happens to have.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)

PARITY_VARIABLE = "OCR_ASSETS_PARITY"

# How long an example takes says nothing on a busy machine.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("PyTorch sees no CUDA device")


@pytest.fixture(scope="session", autouse=True)
def own_state_directory(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Leases of these tests alone, so that nothing else on the machine is waited for."""
    os.environ[STATE_VARIABLE] = str(tmp_path_factory.mktemp("leases"))


@pytest.fixture(scope="session", autouse=True)
def no_database_of_others() -> None:
    """Instances of these tests are their own, whatever the environment says."""
    for variable in (POSTGRES_URL_VARIABLE, POSTGRES_URL_FILE_VARIABLE):
        os.environ.pop(variable, None)


@pytest.fixture(scope="session")
def parity_folder() -> Path:
    """Real clips beside `expected.json`, what the reference computed on them."""
    default = Path(__file__).parents[2] / "shared" / "parity"
    folder = Path(os.environ.get(PARITY_VARIABLE, default))
    if not (folder / "expected.json").is_file():
        pytest.skip(f"no parity clips in {folder}; {PARITY_VARIABLE} says where they are")
    return folder


@pytest.fixture(scope="session")
def parity(parity_folder: Path) -> dict[str, Any]:
    return json.loads((parity_folder / "expected.json").read_text())


@pytest.fixture(scope="session")
def detector() -> TextDetector:
    """The real one, on the CPU."""
    return TextDetector(ModelSettings(precision="exact"))
