"""One run at a time works on a day."""

import datetime as dt
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ocr_assets.tables.day_lock import DaysLockedError, days_locked

MONDAY, TUESDAY = dt.date(2026, 2, 2), dt.date(2026, 2, 3)

HOLD = """
import datetime as dt, sys, time
from pathlib import Path
from ocr_assets.tables.day_lock import days_locked
days = [dt.date(2026, 2, 2)]
with days_locked(Path(sys.argv[1]), days, "run 1b2c3d4e", wait_seconds=0, say=print):
    print("held", flush=True)
    time.sleep(600)
"""


def holder(root: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_run_fails_with_a_sentence_that_names_the_first(tmp_path: Path) -> None:
    first = holder(tmp_path)
    try:
        with (
            pytest.raises(
                DaysLockedError,
                match=rf"run 1b2c3d4e \(process {first.pid} on .*\), since 20.*, is working on "
                rf"2026-02-02 in {tmp_path}",
            ),
            days_locked(tmp_path, [MONDAY], "run b", wait_seconds=0, say=print),
        ):
            pass
        with days_locked(tmp_path, [TUESDAY], "run b", wait_seconds=0, say=print):
            pass
    finally:
        first.kill()
        first.communicate()


def test_the_second_run_waits_and_says_for_whom(tmp_path: Path) -> None:
    said: list[str] = []
    first = holder(tmp_path)
    threading.Timer(2, lambda: os.kill(first.pid, signal.SIGKILL)).start()
    with days_locked(tmp_path, [MONDAY], "run b", wait_seconds=60, say=said.append):
        pass
    first.communicate()
    assert [text.partition(" ")[0] for text in said] == ["run", "2026-02-02"]
    assert said[0].endswith("waiting for it")
    assert "1b2c3d4e" in said[0]


def test_two_runs_of_overlapping_days_do_not_wait_for_each_other_for_ever(tmp_path: Path) -> None:
    inside: list[str] = []

    def run(name: str, days: list[dt.date]) -> None:
        for _ in range(3):
            with days_locked(tmp_path, days, name, wait_seconds=60, say=lambda _: None):
                inside.append(name)
                assert len(inside) == 1
                time.sleep(0.05)
                inside.remove(name)

    threads = [
        threading.Thread(target=run, args=("a", [MONDAY, TUESDAY])),
        threading.Thread(target=run, args=("b", [TUESDAY, MONDAY])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    assert inside == []


def test_the_days_are_free_again_after_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="stop"),
        days_locked(tmp_path, [MONDAY], "run a", wait_seconds=0, say=print),
    ):
        raise RuntimeError("stop")
    with days_locked(tmp_path, [MONDAY], "run b", wait_seconds=0, say=print):
        pass
