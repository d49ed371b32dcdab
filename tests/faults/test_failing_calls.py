"""A file system that is full, read-only, closed to us or broken, from any call on."""

import errno
import itertools
import os
import shutil
from pathlib import Path

import pytest

from tests.faults import Fault, Forks
from tests.faults.work import KEY, NEW, OLD, clean_up, committed, files, numbers, read, write

ALLOCATING = ("create", "write", "sync", "link", "mkdir")
NAMING = ("create", "rename", "link", "unlink", "mkdir")
ALL = Fault(Path(), "fail").calls

FAULTS = {  # errno: which calls fail, how often, what to do
    errno.ENOSPC: (ALLOCATING, 0, "free some space there"),
    errno.EROFS: (ALL, 0, "mount it for writing"),
    errno.EACCES: (NAMING, 0, "give the user that runs this the right to write there"),
    errno.EIO: (ALL, 1, "mend the storage"),
}
RETRIED = {errno.EIO}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "key"),
    [*((error, KEY) for error in FAULTS), (errno.ENOSPC, None)],
    ids=[*map(errno.errorcode.get, FAULTS), "ENOSPC, not resumable"],
)
@pytest.mark.parametrize("before", [[], OLD], ids=["first write", "replacement"])
def test_a_failing_call_is_told_clearly_and_readers_see_the_old_or_the_new_rows(
    forks: Forks, tmp_path: Path, before: list[int], key: str | None, error: int
) -> None:
    calls, times, advice = FAULTS[error]
    template = tmp_path / "template"
    template.mkdir()
    if before:
        write(template, None, before)
    for at in itertools.count(1):
        root = tmp_path / "data"
        shutil.copytree(template, root)
        fault = Fault(root, "fail", at, times, error, calls, log=tmp_path / "calls")
        outcome = forks.run(write, root, key, fault=fault)
        if outcome.calls < at:
            break
        failed = (tmp_path / "calls").read_text().splitlines()[at - 1]
        seen = numbers(root)
        assert seen in (before, NEW)
        if outcome.error is None:
            # deltalake does not mind that it cannot remove the file that it linked to the entry.
            assert failed.startswith("unlink")
            assert failed.endswith(".json#1")
            assert seen == NEW
        else:
            assert os.strerror(error) in outcome.says, (failed, outcome)
            assert str(root) in outcome.says, (failed, outcome)
            assert f". What to do: {advice}, then re-execute" in outcome.says, (failed, outcome)
            assert "\x1b" not in outcome.says
            assert outcome.is_retried == (error in RETRIED)
        if error == errno.ENOSPC and key is None and seen == before:
            assert files(root) == committed(root)  # a full disk is not kept full
        write(root, key)
        assert numbers(root) == NEW
        clean_up(root)
        assert numbers(root) == NEW
        assert files(root) == committed(root)
        shutil.rmtree(root)
        (tmp_path / "calls").unlink()
    assert at > 15


@pytest.mark.parametrize("error", [errno.EIO, errno.EACCES], ids=errno.errorcode.get)
@pytest.mark.parametrize("file", ["date=*/part-*", "_delta_log/*.json"])
def test_a_file_that_the_storage_does_not_give_is_no_damage(
    forks: Forks, tmp_path: Path, file: str, error: int
) -> None:
    write(tmp_path, None, OLD)
    fault = Fault(
        tmp_path, "fail", times=0, error=error, calls=("open",), matching=f"*/numbers/{file}"
    )
    outcome = forks.run(read, tmp_path, fault=fault)
    assert outcome.error in ("OSError", "PermissionError")
    assert os.strerror(error) in outcome.says
    assert str(tmp_path / "numbers" / file.partition("*")[0].rstrip("/=")) in outcome.says
    assert f". What to do: {FAULTS[error][2]}, then re-execute" in outcome.says
    assert outcome.is_retried == (error in RETRIED)
    assert read(tmp_path) == OLD
