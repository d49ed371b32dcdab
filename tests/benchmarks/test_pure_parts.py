"""The parts of the benchmark that compute; nothing is timed here."""

import os
import sys
from pathlib import Path

import pytest

from tests.benchmarks.job import Rounds, TimedJob, equal_verdicts, forward_shares
from tests.benchmarks.machine import bfloat16_flags, cpu_name
from tests.benchmarks.measure import (
    CommandFailedError,
    Cost,
    measure_command,
    paired_ratios,
    parse_pss,
    spread,
    tree_bytes,
)
from tests.benchmarks.report import Target, gibibytes, times

MIB = 1024**2


def test_memory_is_the_proportional_set_size() -> None:
    assert parse_pss("Rss:  300 kB\nPss:  200 kB\nPss_Dirty:  100 kB\n") == 200 * 1024
    assert parse_pss("") == 0


def test_the_memory_of_this_process_is_found_and_that_of_none_is_zero() -> None:
    assert tree_bytes(os.getpid()) > MIB
    assert tree_bytes(2**22 + 1) == 0


def test_a_command_is_charged_for_its_children_and_grandchildren(tmp_path: Path) -> None:
    burn = "x = bytearray(64 * 2**20)\nimport time\nwhile time.process_time() < 0.6: pass"
    child = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}], check=True)"
    parent = (
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}], check=True)"
    )
    cost = _measured(parent, tmp_path)
    assert cost.cpu_seconds >= 0.6
    assert cost.wall_seconds >= 0.6
    assert cost.peak_bytes > 64 * MIB


def test_a_command_is_charged_for_what_outlives_it(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.6: pass"
    parent = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {burn!r}])"
    assert _measured(parent, tmp_path).cpu_seconds >= 0.6


def test_a_failed_command_says_what_it_printed(tmp_path: Path) -> None:
    with pytest.raises(CommandFailedError, match="no such luck"):
        _measured("raise SystemExit('no such luck')", tmp_path)


def test_ratios_are_those_of_paired_rounds() -> None:
    assert paired_ratios([4.0, 9.0], [2.0, 3.0]) == [2.0, 3.0]
    found = spread([3.0, 1.0, 2.0])
    assert (found.median, found.least, found.greatest) == (2.0, 1.0, 3.0)


def test_what_an_empty_job_takes_is_taken_off_but_for_its_memory() -> None:
    assert Cost(10.0, 20.0, 300).above(Cost(4.0, 5.0, 200)) == Cost(6.0, 15.0, 300)


def test_a_verdict_is_equal_where_both_sides_keep_or_both_drop() -> None:
    theirs = {"a": 0.1, "b": 0.05, "c": 0.3}
    assert equal_verdicts(theirs, {"a": 0.1, "b": 0.06, "c": 0.2}, 0.1) == 3
    assert equal_verdicts(theirs, {"a": 0.1001, "b": 0.05}, 0.1) == 1


def test_the_forward_share_is_of_the_job_with_and_without_its_start() -> None:
    side = Rounds(whole=[], empty=[Cost(0, 4.0, 0), Cost(0, 3.0, 0), Cost(0, 9.0, 0)])
    timed = TimedJob(Cost(0, 20.0, 0), forward_cpu_seconds=8.0)
    assert forward_shares(timed, side) == {"whole": 0.4, "work": 0.5}


def test_the_cpu_and_its_bfloat16_are_read_from_cpuinfo() -> None:
    text = "model name\t: Some CPU @ 2 GHz\nflags\t\t: fpu avx2 amx_bf16 avx512_bf16\n"
    assert cpu_name(text) == "Some CPU @ 2 GHz"
    assert bfloat16_flags(text) == ["amx_bf16", "avx512_bf16"]
    assert bfloat16_flags("flags : fpu avx2 avx512f\n") == []


def test_a_target_is_met_missed_or_not_measured() -> None:
    assert Target("speed", 2.2, 2.2, ">=").met is True
    assert Target("growth", 1.2, 1.1, "<=").met is False
    assert Target("speed", None, 4.5, ">=").met is None


def test_figures_show_their_median_and_their_range() -> None:
    assert times([2.0, 3.0, 2.5]) == "2.50x (2.00-3.00)"
    assert gibibytes([2**30]) == "1.00 GiB"


def _measured(program: str, folder: Path) -> Cost:
    return measure_command(
        [sys.executable, "-c", program],
        environment=os.environ,
        folder=folder,
        log=folder / "log.txt",
    )
