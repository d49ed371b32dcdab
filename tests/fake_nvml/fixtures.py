"""The fixtures `nvml_library` and `fake_nvml`; tests/conftest.py registers them."""

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from tests.fake_nvml import DRIVER_VERSION, FakeNvml, build


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of the compiled library."""
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def fake_nvml(
    nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeNvml]:
    """A machine without GPUs yet, for `pynvml` here and in every child process.

    The library, once loaded, stays in the process and answers to the name that `pynvml` loads;
    between tests it has no state folder, and then its init fails as without a driver.
    """
    nvml = FakeNvml(tmp_path / "nvml", nvml_library)
    for variable, value in nvml.environment.items():
        monkeypatch.setenv(variable, value)
    ctypes.CDLL(str(nvml_library))
    if _driver_version() != DRIVER_VERSION:
        pytest.skip("a real libnvidia-ml.so.1 was loaded in this process before the fake one")
    yield nvml
    _shut_down()


def _driver_version() -> str | None:
    _shut_down()
    try:
        pynvml.nvmlInit()
        return pynvml.nvmlSystemGetDriverVersion()
    except pynvml.NVMLError:
        return None
    finally:
        _shut_down()


def _shut_down() -> None:
    with contextlib.suppress(pynvml.NVMLError_Uninitialized):
        while True:
            pynvml.nvmlShutdown()
