"""Policies whose state is the test's own."""

from pathlib import Path

import pytest

from ocr_assets.gpu.placement import PlacementPolicy


@pytest.fixture
def state_directory(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def policy(state_directory: Path) -> PlacementPolicy:
    """Everything by default, but quick."""
    return PlacementPolicy(
        state_directory, poll_seconds=0.02, drain_seconds=0.0, recheck_seconds=0.0, wait_seconds=20
    )
