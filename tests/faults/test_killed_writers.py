"""A process that is killed at any call that changes a file leaves one state or the other."""

import itertools
import shutil
from collections.abc import Iterable
from pathlib import Path
from signal import SIGKILL

import pytest

from ocr_assets.tables.checkpoint import read_notes
from tests.faults import Fault, Forks
from tests.faults.work import KEY, NEW, OLD, clean_up, committed, files, numbers, table, write

Written = dict[str, tuple[int, int]]


def finished_parts(root: Path) -> Written:
    """The parts that the killed process noted as finished."""
    notes = read_notes(table(root).folder).values()
    return written(root, [part.relative for note in notes for part in note.parts])


def written(root: Path, names: Iterable[str]) -> Written:
    """Files with what tells whether they were written again."""
    found = {name: (root / "numbers" / name).stat() for name in names}
    return {name: (status.st_ino, status.st_mtime_ns) for name, status in found.items()}


@pytest.mark.parametrize("key", [KEY, None], ids=["resumable", "not resumable"])
@pytest.mark.parametrize("before", [[], OLD], ids=["first write", "replacement"])
def test_killed_at_each_step_of_a_commit_readers_see_the_old_or_the_new_rows(
    forks: Forks, tmp_path: Path, key: str | None, before: list[int]
) -> None:
    template = tmp_path / "template"
    template.mkdir()
    if before:
        write(template, None, before)
    seen = []
    for at in itertools.count(1):
        root = tmp_path / "data"
        shutil.copytree(template, root)
        outcome = forks.run(write, root, key, fault=Fault(root, "kill", at))
        if outcome.signal is None:
            assert outcome.value == 0
            break
        assert outcome.signal == SIGKILL
        seen.append(numbers(root))
        finished = finished_parts(root)
        resumed = write(root, key)
        assert numbers(root) == NEW
        if key is not None and seen[-1] == before:
            assert resumed == len(finished)
            assert finished.items() <= written(root, committed(root)).items()
        clean_up(root)
        assert numbers(root) == NEW
        assert files(root) == committed(root)
        shutil.rmtree(root)
    assert sorted(seen, key=lambda rows: rows == NEW) == seen
    assert {tuple(rows) for rows in seen} == {tuple(before), tuple(NEW)}
    assert len(seen) > 40
