"""Room is asked for before anything is written."""

import errno
import shutil
from pathlib import Path

import pytest

from ocr_assets.assets.failures import describe, may_be_retried
from ocr_assets.tables.disk_space import NoSpaceError, ensure_space

ENDLESS = 2**62


def test_what_has_room_passes_and_what_has_not_is_named_with_its_size(tmp_path: Path) -> None:
    ensure_space(tmp_path, shutil.disk_usage(tmp_path).free // 2, "the frames of 2026-01-31")
    with pytest.raises(
        NoSpaceError,
        match=rf"the frames of 2026-01-31 may take \d+\.\d GiB and the file system of {tmp_path} "
        r"has \d+\.\d [GM]iB free; it takes \d+\.\d GiB more",
    ) as caught:
        ensure_space(tmp_path, ENDLESS, "the frames of 2026-01-31")
    assert caught.value.errno == errno.ENOSPC
    assert not may_be_retried(caught.value)
    assert "What to do: free some space there" in describe(caught.value)


def test_a_folder_that_does_not_exist_yet_is_asked_for_by_the_one_it_will_be_in(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data" / "sampled_frames"
    ensure_space(folder, 1, "a byte")
    with pytest.raises(NoSpaceError, match=str(folder)):
        ensure_space(folder, ENDLESS, "too much")
    assert not folder.parent.exists()
