"""Leases on a device's memory."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ocr_assets.gpu import held_file
from ocr_assets.gpu.admission import LeaseRefusedError, Limits
from ocr_assets.gpu.ledger import Ledger
from ocr_assets.gpu.ledger_files import LEASES, LOG, OLD_LOG, WAITING
from ocr_assets.gpu.snapshot import Memory
from ocr_assets.gpu.state_directory import StateError, default_state_directory

GIB = 1024**3
PLAIN = Limits(max_fraction=1.0, headroom_bytes=0, max_leases=None)

HOLDER = """
import sys
from pathlib import Path
from ocr_assets.gpu.admission import Limits
from ocr_assets.gpu.ledger import Ledger
from ocr_assets.gpu.snapshot import Memory
ledger = Ledger(Path(sys.argv[1]), "GPU-a", lambda: Memory(8 << 30, 8 << 30))
lease = ledger.take(6 << 30, Limits(), holder="the other")
lease.report_allocated(1 << 30)
print("taken", flush=True)
sys.stdin.read()
"""


@dataclass
class Device:
    """8 GiB whose use and whose clock the test sets."""

    directory: Path
    free_bytes: int = 8 * GIB
    now: float = 1000.0
    drain_seconds: float = 1.0
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = Ledger(
            self.directory,
            "GPU-a",
            lambda: Memory(8 * GIB, self.free_bytes),
            drain_seconds=self.drain_seconds,
            clock=lambda: self.now,
        )


@pytest.fixture
def device(state_directory: Path) -> Device:
    return Device(state_directory)


@pytest.fixture
def other_process(state_directory: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(state_directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"taken\n"
    process.stdout.close()
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait()


def test_leases_are_granted_until_the_allowance_is_used_up(device: Device) -> None:
    limits = Limits(max_fraction=0.9, headroom_bytes=0, max_leases=None)
    leases = [device.ledger.take(3 * GIB, limits) for _ in range(2)]
    with pytest.raises(LeaseRefusedError, match=r"6.0 GiB of 7.2 GiB leased"):
        device.ledger.take(2 * GIB, limits)
    assert device.ledger.take(GIB, limits).size_bytes == GIB
    assert device.ledger.state().leased_bytes == sum(lease.size_bytes for lease in leases) + GIB


def test_free_memory_must_cover_what_is_promised_but_not_allocated_yet(device: Device) -> None:
    device.free_bytes = 5 * GIB
    lease = device.ledger.take(3 * GIB, PLAIN)
    with pytest.raises(LeaseRefusedError, match=r"3.0 GiB of it reserved by 1 leases"):
        device.ledger.take(3 * GIB, PLAIN)
    device.free_bytes = 2 * GIB  # it allocates
    lease.report_allocated(3 * GIB)
    assert device.ledger.take(2 * GIB, PLAIN).size_bytes == 2 * GIB


def test_headroom_is_left_free(device: Device) -> None:
    device.free_bytes = 2 * GIB
    limits = Limits(max_fraction=1.0, headroom_bytes=GIB, max_leases=None)
    assert device.ledger.room_bytes(limits) == GIB
    with pytest.raises(LeaseRefusedError, match=r"1.0 GiB headroom"):
        device.ledger.take(GIB + 1, limits)
    device.ledger.take(GIB, limits)


def test_no_more_leases_than_allowed(device: Device) -> None:
    limits = Limits(max_leases=1)
    lease = device.ledger.take(GIB, limits)
    assert device.ledger.room_bytes(limits) == 0
    with pytest.raises(LeaseRefusedError, match="the one reader allowed there taken"):
        device.ledger.take(GIB, limits)
    lease.release()
    device.ledger.take(GIB, limits)


def test_released_memory_drains_before_it_is_handed_out_again(device: Device) -> None:
    lease = device.ledger.take(6 * GIB, PLAIN)
    lease.report_allocated(6 * GIB)
    lease.release()
    lease.release()
    state = device.ledger.state()
    assert state.leases == ()
    assert [one.size_bytes for one in state.draining] == [6 * GIB]
    with pytest.raises(LeaseRefusedError, match="1 draining"):
        device.ledger.take(3 * GIB, PLAIN)
    device.now += 0.99
    assert device.ledger.state().draining
    device.now += 0.01
    assert device.ledger.state().draining == ()
    assert device.ledger.take(8 * GIB, PLAIN).size_bytes == 8 * GIB


def test_a_clock_set_back_does_not_prolong_draining(device: Device) -> None:
    device.ledger.take(6 * GIB, PLAIN).release()
    device.now -= 500
    assert device.ledger.state().draining == ()


def test_a_lease_grows_if_there_is_room_and_shrinks(device: Device) -> None:
    lease, other = (device.ledger.take(3 * GIB, PLAIN) for _ in range(2))
    lease.resize(5 * GIB, PLAIN)
    with pytest.raises(LeaseRefusedError, match=r"1.0 GiB needed, 0.0 GiB to be had"):
        other.resize(4 * GIB, PLAIN)
    assert other.size_bytes == 3 * GIB
    lease.resize(GIB, PLAIN)
    other.resize(4 * GIB, PLAIN)
    assert sorted(one.size_bytes for one in device.ledger.state().leases) == [GIB, 4 * GIB]


def test_a_lease_ends_with_its_block(device: Device) -> None:
    with device.ledger.take(GIB, PLAIN):
        assert device.ledger.state().leases
    assert device.ledger.state().leases == ()


def test_a_killed_holders_lease_drains_and_ends(
    device: Device, other_process: subprocess.Popen[bytes]
) -> None:
    (seen,) = device.ledger.state().leases
    assert (seen.size_bytes, seen.allocated_bytes) == (6 * GIB, GIB)
    assert re.fullmatch(rf"the other \(-c .*, process {other_process.pid} on \S+\)", seen.holder)
    with pytest.raises(LeaseRefusedError):
        device.ledger.take(3 * GIB, PLAIN)
    os.kill(other_process.pid, signal.SIGKILL)
    end(other_process)
    state = device.ledger.state()
    assert state.leases == ()
    assert len(state.draining) == 1
    device.now += 1
    assert device.ledger.state().draining == ()
    assert device.ledger.take(8 * GIB, PLAIN)


def test_a_stopped_holder_keeps_its_lease(
    device: Device, other_process: subprocess.Popen[bytes]
) -> None:
    os.kill(other_process.pid, signal.SIGSTOP)
    try:
        assert len(device.ledger.state().leases) == 1
    finally:
        os.kill(other_process.pid, signal.SIGCONT)
        end(other_process)


def test_a_forked_child_neither_keeps_nor_ends_its_parents_lease(state_directory: Path) -> None:
    program = (
        "import os, signal, sys, time\n"
        "from pathlib import Path\n"
        "from ocr_assets.gpu.admission import Limits\n"
        "from ocr_assets.gpu.ledger import Ledger\n"
        "from ocr_assets.gpu.snapshot import Memory\n"
        "ledger = Ledger(Path(sys.argv[1]), 'GPU-a', lambda: Memory(8 << 30, 8 << 30))\n"
        "lease = ledger.take(1 << 30, Limits())\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    lease.release()\n"
        "    while True: time.sleep(1)\n"
        "time.sleep(0.5)\n"
        "held = len(ledger.state().leases)\n"
        "print(child, held, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", program, str(state_directory)], stdout=subprocess.PIPE
    )
    assert run.stdout is not None
    child, held = run.stdout.readline().split()
    run.wait()
    run.stdout.close()
    try:
        assert held == b"1"
        assert Device(state_directory).ledger.state().leases == ()
    finally:
        os.kill(int(child), signal.SIGKILL)


def test_torn_files_are_reported_and_survived(device: Device) -> None:
    lease = device.ledger.take(GIB, PLAIN)
    folder = device.ledger.folder / LEASES
    (folder / f"{'a' * 32}.json").write_text('{"version": 1, "size_by')
    (folder / f"{'b' * 32}.json").write_bytes(b"\xff\xfe" + b"[" * 1100)
    (folder / f"{'c' * 32}.json").write_text('{"version": 1, "size_bytes": "many"}')
    (device.ledger.folder / WAITING / f"{'d' * 32}.json").write_text("[]")
    problems = device.ledger.state().problems
    assert len(problems) == 4
    assert sum("is torn, and its holder is gone; it is removed" in text for text in problems) == 3
    assert device.ledger.state().problems == ()
    assert [one.lease_id for one in device.ledger.state().leases] == [lease.lease_id]


def test_foreign_files_are_reported_and_left_alone(device: Device) -> None:
    device.ledger.take(GIB, PLAIN)
    foreign = device.ledger.folder / LEASES / "notes.txt"
    foreign.write_text("mine")
    (device.ledger.folder / "more").mkdir()
    (device.ledger.folder / LEASES / f"{'e' * 32}.json").mkdir()
    (device.ledger.folder / LEASES / f"{'f' * 32}.json").symlink_to("/etc/passwd")
    for _ in range(2):
        problems = device.ledger.state().problems
        assert len(problems) == 4
        assert all("is not a file of the ledger; it is left alone" in text for text in problems)
    assert foreign.read_text() == "mine"
    device.ledger.take(GIB, PLAIN)


def test_a_lease_of_another_format_is_reported_and_survived(
    device: Device, state_directory: Path
) -> None:
    device.ledger.state()
    path = device.ledger.folder / LEASES / f"{'a' * 32}.json"
    other = held_file.HeldFile(path, {"version": 99, "bytes": 1})
    (problem,) = device.ledger.state().problems
    assert "is of format 99, this program knows 1; of it only what is allocated counts" in problem
    device.ledger.take(GIB, PLAIN)
    other.let_go()
    assert "its holder is gone; it is removed" in device.ledger.state().problems[0]
    assert not path.exists()


def test_a_lease_survives_an_emptied_state_directory(device: Device) -> None:
    lease = device.ledger.take(GIB, PLAIN)
    shutil.rmtree(device.ledger.folder)
    assert device.ledger.state().leases == ()
    lease.resize(2 * GIB, PLAIN)
    assert [one.size_bytes for one in device.ledger.state().leases] == [2 * GIB]
    shutil.rmtree(device.ledger.folder)
    lease.release()
    assert device.ledger.state().leases == ()


def test_files_are_for_the_user_alone(device: Device, state_directory: Path) -> None:
    device.ledger.take(GIB, PLAIN)
    device.ledger.waiting(GIB)
    for folder, _, names in os.walk(state_directory):
        assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700
        assert {stat.S_IMODE((Path(folder) / name).stat().st_mode) for name in names} <= {0o600}


def test_a_state_directory_that_others_may_enter_is_refused(
    device: Device, state_directory: Path
) -> None:
    state_directory.mkdir(mode=0o755)
    with pytest.raises(StateError, match="is open to other users; `chmod 700"):
        device.ledger.state()


def test_a_state_directory_that_is_a_link_is_refused(
    device: Device, state_directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    state_directory.symlink_to(tmp_path / "real")
    with pytest.raises(StateError, match="is a link"):
        device.ledger.state()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_state_directory_of_somebody_else_is_refused(
    device: Device, state_directory: Path
) -> None:
    state_directory.mkdir(mode=0o700)
    os.chown(state_directory, 12345, 12345)
    with pytest.raises(StateError, match="belongs to user 12345"):
        device.ledger.state()


def test_a_state_directory_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="set OCR_ASSETS_STATE to a folder"):
        Device(tmp_path / "file" / "state").ledger.state()


def test_a_lock_that_is_never_let_go_is_an_error(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.ledger.state()
    monkeypatch.setattr(held_file, "LOCK_SECONDS", 0.05)
    with (
        held_file.locked(device.ledger.folder / "lock"),
        pytest.raises(StateError, match="a process that holds it is stopped or hangs"),
    ):
        device.ledger.state()


def test_the_log_tells_what_happened(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/dagster-daemon", "run"])
    lease = device.ledger.take(2 * GIB, PLAIN, holder="me")
    lease.resize(GIB, PLAIN)
    lease.release()
    lines = [json.loads(line) for line in (device.ledger.folder / LOG).read_text().splitlines()]
    assert [line["event"] for line in lines] == ["take", "resize", "release"]
    assert all(line["holder"].startswith("me (dagster-daemon") for line in lines)
    assert lines[0]["leased_bytes"] == 2 * GIB
    assert lines[0]["allowance_bytes"] == 8 * GIB
    assert lines[1]["leased_bytes"] == GIB


def test_the_log_does_not_grow_for_ever(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocr_assets.gpu.ledger.LOG_BYTES", 2000)
    for _ in range(50):
        device.ledger.take(GIB, PLAIN).release()
        device.now += 1
    sizes = {path.name: path.stat().st_size for path in device.ledger.folder.glob("log*")}
    assert OLD_LOG in sizes
    assert sizes.keys() <= {LOG, OLD_LOG}
    assert max(sizes.values()) < 2500


def test_a_waiter_counts_until_it_is_closed(device: Device) -> None:
    waiter = device.ledger.waiting(3 * GIB)
    assert device.ledger.state().waiting_bytes == (3 * GIB,)
    waiter.close()
    waiter.close()
    assert device.ledger.state().waiting_bytes == ()
    abandoned = device.ledger.waiting(GIB)
    abandoned._file.let_go()  # what death does
    assert device.ledger.state().waiting_bytes == ()


def test_the_default_state_directory_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert default_state_directory() == Path("/run/user/7/ocr_assets")


def test_a_log_that_cannot_be_written_leaves_no_lease_behind(device: Device) -> None:
    device.ledger.state()
    (device.ledger.folder / LOG).mkdir()
    with pytest.raises(StateError, match="Is a directory"):
        device.ledger.take(GIB, PLAIN)
    (device.ledger.folder / LOG).rmdir()
    assert device.ledger.state().leases == ()


def test_a_waiter_lets_go_even_of_a_ledger_that_cannot_be_used(
    device: Device, state_directory: Path
) -> None:
    waiter = device.ledger.waiting(GIB)
    state_directory.chmod(0o755)
    with pytest.raises(StateError):
        waiter.close()
    state_directory.chmod(0o700)
    assert device.ledger.state().waiting_bytes == ()


def test_a_holder_of_any_name_fits_into_its_record(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["\\" * 300, "\u6f22" * 300 + "\ud800\n\0"])
    device.ledger.take(GIB, PLAIN, "\U0001f600" * 300)
    assert len(device.ledger.state().leases) == 1
