"""One run at a time works on a day, also where there are no locks."""

import contextlib
import datetime as dt
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import dagster as dg
import pytest

from ocr_assets.object_storage_errors import ObjectStorageError
from ocr_assets.partitions import daily
from ocr_assets.resources.tables import Tables
from ocr_assets.tables.day_lock import DayLostError, DaysLockedError
from ocr_assets.tables.folder import EnsureHeld
from ocr_assets.tables.lease import days_leased
from ocr_assets.tables.object_folder import ObjectFolder
from ocr_assets.tables.partitioned import PartitionedTable
from ocr_assets.tables.unit_writer import PartitionConflictError
from tests.s3_server import Answer, Faults, S3Server
from tests.tables.test_partitioned import MONDAY, TUESDAY, Numbers, numbers, rows, write

ROOT = "s3://tables/leased"
SECONDS = 2.0
OBJECT = f"/tables/leased/_runs/{MONDAY}.lease.json"

HOLD = f"""
import datetime as dt, json, sys, time
from ocr_assets.tables.lease import days_leased
from ocr_assets.tables.object_folder import ObjectFolder
folder = ObjectFolder.at({ROOT!r}, json.loads(sys.argv[1]))
days = [dt.date({MONDAY.year}, {MONDAY.month}, {MONDAY.day})]
told = dict(wait_seconds=0, say=print, warn=lambda text: print(text, flush=True))
with days_leased(folder, days, "run 1b2c3d4e", lease_seconds={SECONDS}, **told):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def folder(s3: S3Server) -> ObjectFolder:
    return ObjectFolder.at(ROOT, s3.options)


@contextlib.contextmanager
def holder(s3: S3Server) -> Iterator["subprocess.Popen[str]"]:
    """Another process that has Monday."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, json.dumps(s3.options)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.communicate()


def leased(
    folder: ObjectFolder,
    *days: dt.date,
    wait_seconds: float = 0,
    say: Callable[[str], None] = print,
    warn: Callable[[str], None] = print,
) -> contextlib.AbstractContextManager[EnsureHeld]:
    return days_leased(
        folder,
        days,
        "run b",
        wait_seconds=wait_seconds,
        say=say,
        warn=warn,
        lease_seconds=SECONDS,
    )


def test_what_the_environment_says_of_the_storage_holds_for_renewals_too(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = dict(s3.options)
    assert options.pop("allow_http") == "true"
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    said: list[str] = []
    with leased(ObjectFolder.at(ROOT, options), MONDAY, warn=said.append) as ensure_held:
        time.sleep(SECONDS)
        ensure_held(MONDAY)
    assert not said


def test_the_second_run_fails_with_a_sentence_that_names_the_first(
    s3: S3Server, folder: ObjectFolder
) -> None:
    with holder(s3) as first:
        with (
            pytest.raises(
                DaysLockedError,
                match=rf"run 1b2c3d4e \(process {first.pid} on .*\), since 20.*, is working on "
                rf"{MONDAY} in {ROOT}",
            ),
            leased(folder, MONDAY, wait_seconds=2 * SECONDS),  # it is renewed meanwhile
        ):
            pass
        with leased(folder, TUESDAY):
            pass


def test_the_second_run_waits_for_the_first_and_says_so(s3: S3Server, folder: ObjectFolder) -> None:
    said: list[str] = []
    with holder(s3) as first:
        ending = threading.Timer(1, first.communicate, ["\n"])
        ending.start()
        with leased(folder, MONDAY, wait_seconds=60, say=said.append):
            pass
        ending.join()  # whoever ends it asks it, too
    assert [text.partition(" ")[0] for text in said] == ["run", str(MONDAY)]
    assert said[0].endswith("waiting for it")


@pytest.mark.parametrize("share", [0.0, 0.3], ids=["reliable", "unreliable"])
def test_a_day_whose_holder_was_killed_is_taken_over_and_one_that_ended_is_free_at_once(
    s3: S3Server, folder: ObjectFolder, share: float
) -> None:
    with holder(s3) as first:
        first.kill()
        with (
            s3.failing(Faults(share=share)),
            leased(folder, MONDAY, wait_seconds=60),
            pytest.raises(DaysLockedError),
            leased(folder, MONDAY),
        ):
            pass
    with leased(folder, MONDAY):
        pass


def test_a_holder_that_was_paused_is_told_that_it_has_lost_the_day_and_does_not_disturb_the_other(
    s3: S3Server, folder: ObjectFolder
) -> None:
    with holder(s3) as first:
        assert first.stdout is not None
        os.kill(first.pid, signal.SIGSTOP)
        with leased(folder, MONDAY, wait_seconds=60):
            os.kill(first.pid, signal.SIGCONT)
            assert "was taken over by another run" in first.stdout.readline()
            first.communicate("\n")
            with pytest.raises(DaysLockedError), leased(folder, MONDAY, wait_seconds=2 * SECONDS):
                pass


def rob(folder: ObjectFolder, holder: str = "another") -> None:
    """Takes Monday from whoever has it."""
    name, held = f"_runs/{MONDAY}.lease.json", None
    text = json.dumps({"holder": holder, "since": time.time(), "lease": holder})
    while held is None or folder.put_if(name, text, held.tag) is None:
        held = folder.tagged(name)


def test_a_run_that_lost_its_day_between_two_tables_does_not_replace_what_the_other_has_written(
    folder: ObjectFolder,
) -> None:
    with leased(folder, MONDAY) as ensure_held:
        first, second = (
            PartitionedTable(folder, name, Numbers, ensure_held=ensure_held)
            for name in ("first", "second")
        )
        write(first, MONDAY, 1)
        rob(folder)
        others = PartitionedTable(folder, "second", Numbers)
        write(others, MONDAY, 2)
        with pytest.raises(DayLostError, match=f"another, since 20.*, took {MONDAY} in {ROOT}"):
            write(second, MONDAY, 3)
        write(second, TUESDAY, 4)  # which it did not ask for
    assert numbers(others, MONDAY) == [2]
    assert numbers(others, TUESDAY) == [4]


@pytest.mark.parametrize("key", [None, "these frames"], ids=["not resumable", "resumable"])
def test_a_run_that_lost_its_day_while_it_wrote_a_table_leaves_it_to_the_other(
    folder: ObjectFolder, key: str | None
) -> None:
    others = PartitionedTable(folder, "numbers", Numbers)
    with leased(folder, MONDAY) as ensure_held:
        table = PartitionedTable(folder, "numbers", Numbers, ensure_held=ensure_held)
        with pytest.raises(DayLostError), table.replace(MONDAY, made_from=key) as writer:
            writer.append(rows(1))
            rob(folder)
    assert others.dates() == []
    write(others, MONDAY, 2)
    assert numbers(others, MONDAY) == [2]


def test_a_table_with_a_lease_is_pickled_without_it(folder: ObjectFolder) -> None:
    with leased(folder, MONDAY) as ensure_held:
        table = PartitionedTable(folder, "numbers", Numbers, ensure_held=ensure_held)
        there = pickle.loads(pickle.dumps(table))
        with table.replace(MONDAY) as writer:
            writer.append(rows(1))
    assert numbers(there, MONDAY) == [1]


def test_of_two_who_wait_for_a_day_whose_holder_was_killed_one_gets_it(
    s3: S3Server, folder: ObjectFolder
) -> None:
    waiting: list[str] = []
    inside: list[int] = []
    most: list[int] = []

    def wait(number: int) -> None:
        with leased(folder, MONDAY, wait_seconds=60, say=waiting.append):
            inside.append(number)
            most.append(len(inside))
            time.sleep(2 * SECONDS)  # in which the other one would take it for dead
            inside.remove(number)

    threads = [threading.Thread(target=wait, args=[number]) for number in range(2)]
    with holder(s3) as first:
        for thread in threads:
            thread.start()
        while len(waiting) < len(threads):
            time.sleep(0.01)
        first.kill()
        for thread in threads:
            thread.join(timeout=60)
    assert most == [1, 1]


def test_of_two_runs_that_both_believe_to_have_a_day_the_second_is_refused(
    folder: ObjectFolder,
) -> None:
    table = PartitionedTable(folder, "numbers", Numbers)
    with pytest.raises(PartitionConflictError), table.replace(MONDAY) as lost:
        lost.append(rows(1))
        write(table, MONDAY, 2)
    assert numbers(table, MONDAY) == [2]


def test_clocks_of_hosts_are_not_compared(s3: S3Server, folder: ObjectFolder) -> None:
    """What the holder says of the time, and the storage of the object's age, does not matter."""
    with holder(s3):
        said = json.loads(s3.get(OBJECT))
        assert abs(said["since"] - time.time()) < 3600
        tagged = folder.tagged(f"_runs/{MONDAY}.lease.json")
        assert tagged is not None
    ancient = json.dumps({**said, "since": 0.0})
    assert folder.put_if(f"_runs/{TUESDAY}.lease.json", ancient, None) is not None
    with pytest.raises(DaysLockedError, match="since 1970"), leased(folder, TUESDAY):
        pass


def test_a_storage_that_is_away_for_a_while_costs_nobody_the_day(
    s3: S3Server, folder: ObjectFolder
) -> None:
    warned: list[str] = []
    with leased(folder, MONDAY, warn=warned.append):
        with s3.answering(Answer("PUT", 503, "SlowDown")):
            while not warned:
                time.sleep(0.1)
        count = len(s3.requests())
        while not any(one.status == 200 for one in s3.requests()[count:]):
            time.sleep(0.1)
        with pytest.raises(DaysLockedError), leased(folder, MONDAY):
            pass
    (text,) = warned
    assert text.startswith(f"the lease of {MONDAY} cannot be renewed, so that another run may")
    assert "(503 SlowDown)" in text


@pytest.mark.parametrize(
    ("ignored", "header"),
    [
        (["if-none-match", "if-match"], r"If-None-Match: \*"),
        (["if-none-match"], r"If-None-Match: \*"),
        (["if-match"], "If-Match"),
    ],
    ids="-".join,
)
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "again"])
def test_a_storage_without_conditional_writes_is_refused(
    s3: S3Server, folder: ObjectFolder, ignored: list[str], header: str, is_first: bool
) -> None:
    if not is_first:
        with leased(folder, MONDAY):
            pass
    said = rf"is overwritten although it was asked not to be \({header} on PUT\)"
    with (
        s3.ignoring(*ignored),
        pytest.raises(ObjectStorageError, match=said),
        leased(folder, MONDAY),
    ):
        pass


def test_a_run_that_has_lost_its_day_says_so_in_its_log(s3: S3Server, folder: ObjectFolder) -> None:
    @dg.asset(partitions_def=daily)
    def robbed(context: dg.AssetExecutionContext, tables: Tables) -> None:
        rob(folder)
        while not any("was taken over" in message for message in messages(context)):
            time.sleep(0.5)
        with pytest.raises(DayLostError):
            tables.video_manifest.replace(MONDAY).__enter__()

    def messages(context: dg.AssetExecutionContext) -> list[str]:
        log = context.instance.all_logs(context.run.run_id)
        return [entry.user_message for entry in log]

    tables = Tables(root=ROOT, storage_options=s3.options)
    result = dg.materialize(
        [robbed], partition_key=MONDAY.isoformat(), resources={"tables": tables}
    )
    assert result.success


def test_two_runs_of_overlapping_days_take_turns(s3: S3Server, folder: ObjectFolder) -> None:
    inside: list[str] = []

    def run(name: str, days: list[dt.date]) -> None:
        for _ in range(3):
            with leased(folder, *days, wait_seconds=60, say=lambda _: None):
                inside.append(name)
                assert len(inside) == 1
                time.sleep(0.05)
                inside.remove(name)

    threads = [
        threading.Thread(target=run, args=("a", [MONDAY, TUESDAY])),
        threading.Thread(target=run, args=("b", [TUESDAY, MONDAY])),
    ]
    with s3.failing(Faults(share=0.1)):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=120)
    assert not any(thread.is_alive() for thread in threads)
    assert inside == []
