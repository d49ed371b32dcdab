"""What a power failure may leave: what was synced, and of the rest anything."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ocr_assets.assets.failures import describe
from tests.faults import Fault, Forks
from tests.faults.work import KEY, NEW, OLD, numbers, write

NEVER = 10**9


def test_nothing_is_named_before_it_is_on_the_disk(forks: Forks, tmp_path: Path) -> None:
    root, log = tmp_path / "data", tmp_path / "calls"
    forks.run(write, root, KEY, fault=Fault(root, "fail", NEVER, log=log))
    lines = log.read_text().splitlines()
    calls = [(call, Path(path)) for call, _, path in (line.partition(" ") for line in lines)]

    def in_order(*wanted: tuple[str, str]) -> None:
        """Fails unless calls of these kinds on paths with these names come in this order."""
        left: Iterator[tuple[str, Path]] = iter(calls)
        for kind, name in wanted:
            assert any(call == kind and name in path.name for call, path in left), (kind, name)

    for part in (path.name for call, path in calls if call == "rename" and "part-" in path.name):
        in_order(
            ("write", f".{part}."),
            ("sync", f".{part}."),
            ("rename", part),
            ("sync", "date=2026-01-05"),
            ("write", ".date=2026-01-05-"),  # the checkpoint that names it
            ("sync", ".date=2026-01-05-"),
            ("rename", "date=2026-01-05-"),
            ("sync", "_unfinished"),
            ("link", "00000000000000000001.json"),
        )
    for version in ("00000000000000000000.json", "00000000000000000001.json"):
        in_order(("link", version), ("sync", version), ("sync", "_delta_log"))
    in_order(("sync", "_delta_log"), ("unlink", "date=2026-01-05-"))  # the checkpoint, at last
    for folder, parent in (("numbers", "data"), ("_unfinished", "numbers"), ("date=", "numbers")):
        in_order(("mkdir", folder), ("sync", parent))


@pytest.mark.parametrize("is_first", [True, False])
def test_a_commit_whose_entry_is_empty_after_a_power_failure_did_not_happen(
    tmp_path: Path, is_first: bool
) -> None:
    if not is_first:
        write(tmp_path, None, OLD)
    write(tmp_path, KEY, NEW)
    entries = sorted((tmp_path / "numbers" / "_delta_log").glob("*.json"))
    entries[-1].write_bytes(b"")
    assert numbers(tmp_path) == ([] if is_first else OLD)
    write(tmp_path, KEY, NEW)
    assert numbers(tmp_path) == NEW


def test_an_entry_that_is_half_there_is_told_of_in_a_line(tmp_path: Path) -> None:
    write(tmp_path, None, OLD)
    entries = sorted((tmp_path / "numbers" / "_delta_log").glob("*.json"))
    entries[-1].write_bytes(entries[-1].read_bytes()[:-20])
    with pytest.raises(Exception, match="Truncated record") as caught:
        write(tmp_path, None, NEW)
    assert isinstance(caught.value, Exception)
    assert "\n" not in describe(caught.value)
