"""The library that makes faults, and the processes it makes them in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import Forks, build


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of the compiled library."""
    return build(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="package")
def forks(shim: Path) -> Iterator[Forks]:
    with Forks(shim) as forks:
        yield forks
