"""Two processes that write one partition where no lock keeps them apart."""

import itertools
import random
import shutil
from pathlib import Path
from signal import SIGSTOP

import pytest

from tests.faults import Fault, Forks
from tests.faults.work import KEY, NEW, OLD, OTHER, clean_up, numbers, write, write_after

ROUNDS = 25


@pytest.mark.parametrize("before", [[], OLD], ids=["first write", "replacement"])
def test_a_writer_that_was_paused_anywhere_does_not_take_back_what_was_committed_meanwhile(
    forks: Forks, tmp_path: Path, before: list[int]
) -> None:
    template = tmp_path / "template"
    template.mkdir()
    if before:
        write(template, None, before)
    refused = 0
    for at in itertools.count(1):
        root, log = tmp_path / "data", tmp_path / "calls"
        shutil.copytree(template, root)
        log.write_text("")
        paused = forks.start(write, root, KEY, fault=Fault(root, "stop", at, log=log))
        outcome = paused.wait()
        if outcome.signal is None:
            break
        assert outcome.signal == SIGSTOP
        calls = log.read_text()
        was_new = numbers(root) == NEW
        write(root, None, OTHER)
        paused.go_on()
        outcome = paused.wait()
        if "_unfinished" not in calls:
            # It was paused before it looked at the partition, so it is the later one of the two.
            assert outcome.error is None
            assert numbers(root) == NEW
        else:
            assert numbers(root) == OTHER
            assert outcome.error == (None if was_new else "PartitionConflictError")
            refused += not was_new
        clean_up(root)
        assert numbers(root) == (OTHER if "_unfinished" in calls else NEW)
        shutil.rmtree(root)
    assert refused > 25


@pytest.mark.parametrize("key", [KEY, None], ids=["resumable", "not resumable"])
@pytest.mark.parametrize("before", [[], OLD], ids=["table and partition are new", "replacement"])
def test_of_two_processes_at_once_one_stands_and_rows_never_mix(
    forks: Forks, tmp_path: Path, before: list[int], key: str | None
) -> None:
    chance = random.Random(7)
    conflicts = 0
    for number in range(ROUNDS):
        root = tmp_path / str(number)
        if before:
            write(root, None, before)
        keys = [key and f"{key} {own}" for own in range(2)]
        racers = [
            forks.start(write_after, chance.uniform(0, 0.02), root, keys[own], rows)
            for own, rows in enumerate((NEW, OTHER))
        ]
        outcomes = [racer.wait() for racer in racers]
        won = [rows for rows, out in zip((NEW, OTHER), outcomes, strict=True) if out.error is None]
        assert numbers(root) in won
        assert {outcome.error for outcome in outcomes} <= {None, "PartitionConflictError"}
        conflicts += 2 - len(won)
        clean_up(root)
        assert numbers(root) in won
    assert conflicts > ROUNDS / 4
