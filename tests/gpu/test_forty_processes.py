"""Forty processes at once on fake GPUs, some of them killed, while somebody else takes memory."""

import itertools
import json
import multiprocessing
import random
import re
import signal
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from ocr_assets.gpu.held_file import locked, look_at
from ocr_assets.gpu.ledger import Ledger
from ocr_assets.gpu.ledger_files import LEASES, LOCK, LOG, OLD_LOG
from ocr_assets.gpu.placement import PlacementPolicy
from ocr_assets.gpu.snapshot import take_snapshot
from tests.fake_nvml import GIB, Allocation, FakeNvml, allocate, used_bytes
from tests.gpu import worker

PROCESSES = 40
ROUNDS = 30
KILLS = 40
FEW_ROUNDS, FEW_KILLS = 2, 3
# With the headroom of 0.5 GiB they leave room for 11, 10, 9 and 8 readers of 2 GiB.
HOG_SIZES = (0, int(3.4 * GIB), int(5.4 * GIB), int(7.4 * GIB))


@dataclass
class Hog:
    """Takes memory without a lease, but none that somebody was promised a moment ago.

    One that did would make holders run out of memory, which is another test.
    """

    nvml: FakeNvml
    uuid: str
    ledger: Ledger
    history: list[tuple[float, int]] = field(default_factory=list)
    held: list[Allocation] = field(default_factory=list)
    wanted: int = 0
    until: float = 0.0

    def act(self) -> None:
        if time.time() > self.until:
            for allocation in self.held:
                allocation.free()
            self.held = []
            self.wanted = random.choice(HOG_SIZES)
            self.until = time.time() + random.uniform(1, 3)
        missing = self.wanted - self.taken
        if missing > 0 and self.ledger.folder.exists():
            with locked(self.ledger.folder / LOCK):
                spare = 24 * GIB - used_bytes(self.nvml.state, self.uuid) - self._promised()
                if spare > 0:
                    self.held.append(allocate(self.nvml.state, self.uuid, min(missing, spare)))
        self.history.append((time.time(), self.taken))

    @property
    def taken(self) -> int:
        return sum(allocation.size_bytes for allocation in self.held)

    def _promised(self) -> int:
        records = [
            look_at(path).record or {} for path in (self.ledger.folder / LEASES).glob("*.json")
        ]
        return sum(record["size_bytes"] - record["allocated_bytes"] for record in records)


@dataclass
class Crowd:
    """Forty worker processes; a killed one is replaced, and its unfinished tasks done again."""

    environment: dict[str, str]
    policy: PlacementPolicy
    folder: Path
    visible: tuple[str | None, ...] = (None,)
    tasks: dict[int, list[int]] = field(default_factory=dict)
    running: dict[int, BaseProcess] = field(default_factory=dict)
    failed: list[int] = field(default_factory=list)

    def start(self, rounds: int) -> None:
        for number in range(PROCESSES):
            self.tasks[number] = [number * rounds + task for task in range(rounds)]
            self._start(number)

    def step(self) -> None:
        for number, process in list(self.running.items()):
            if process.exitcode is None:
                continue
            del self.running[number]
            if process.exitcode == -signal.SIGKILL:
                self._start(number)
            elif process.exitcode != 0:
                self.failed.append(number)

    def kill(self, pid: int) -> bool:
        for process in self.running.values():
            if process.pid == pid and process.exitcode is None:
                process.kill()
                return True
        return False

    def done(self) -> list[dict[str, Any]]:
        logs = self.folder.glob("*.jsonl")
        # A killed worker may leave its last line torn: that task is not done, and was done again.
        lines = [line for log in logs for line in log.read_text().splitlines()]
        return [json.loads(line) for line in lines if line.endswith("}")]

    def _start(self, number: int) -> None:
        finished = {line["task"] for line in self.done()}
        visible = self.visible[number % len(self.visible)]
        devices = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
        context = multiprocessing.get_context("forkserver")
        process = context.Process(
            target=worker.work,
            args=(
                self.environment | devices,
                self.policy,
                [task for task in self.tasks[number] if task not in finished],
                self.folder / f"{number}-{time.monotonic_ns()}.jsonl",
            ),
        )
        process.start()
        self.running[number] = process


@pytest.fixture(scope="module", autouse=True)
def preloaded(nvml_library: Path) -> None:
    multiprocessing.set_forkserver_preload(["tests.gpu.worker"])


@pytest.fixture
def crowd(fake_nvml: FakeNvml, policy: PlacementPolicy, tmp_path: Path) -> Crowd:
    done = tmp_path / "done"
    done.mkdir()
    policy = replace(
        policy,
        when_gpu_full="wait",
        max_readers_per_gpu=None,
        idle_seconds=0.0,
        poll_seconds=0.1,
        drain_seconds=0.02,
        wait_seconds=300,
    )
    return Crowd(fake_nvml.environment, policy, done)


def events(ledger: Ledger) -> list[dict[str, Any]]:
    logs = (ledger.folder / name for name in (OLD_LOG, LOG))
    return [
        json.loads(line) for log in logs if log.exists() for line in log.read_text().splitlines()
    ]


def holders(ledger: Ledger) -> list[int]:
    texts = [lease.holder for lease in ledger.state().leases]
    return [int(match[1]) for text in texts if (match := re.search(r"process (\d+)", text))]


def run(crowd: Crowd, rounds: int, kills: int, hog: Hog | None, ledgers: list[Ledger]) -> None:
    """Lets the crowd do all its tasks, killing holders of leases on the way."""
    crowd.start(rounds)
    killed = 0
    next_kill = time.time() + 1
    while crowd.running:
        crowd.step()
        if hog is not None:
            hog.act()
        if killed < kills and time.time() > next_kill:
            pids = [pid for ledger in ledgers for pid in holders(ledger)]
            killed += any(crowd.kill(pid) for pid in random.sample(pids, k=min(1, len(pids))))
            next_kill = time.time() + random.uniform(0.3, 1.0)
        time.sleep(0.02)
    assert killed == kills


def check(crowd: Crowd, rounds: int, ledgers: list[Ledger]) -> list[dict[str, Any]]:
    """Nothing failed, nothing was lost, nobody ran out of memory, and no lease is left."""
    done = crowd.done()
    assert crowd.failed == []
    assert {line["task"] for line in done} == set(range(PROCESSES * rounds))
    assert all(len(line["devices"]) == worker.FRAMES for line in done)
    assert sum(line["oom"] for line in done) == 0
    time.sleep(0.1)
    for ledger in ledgers:
        takes = [line for line in events(ledger) if line["event"] == "take"]
        assert all(line["leased_bytes"] <= line["allowance_bytes"] for line in takes)
        state = ledger.state()
        assert state.leases == state.draining == state.waiting_bytes == state.problems == ()
    return done


def devices(done: list[dict[str, Any]]) -> Counter[str]:
    return Counter(device for line in done for device in line["devices"])


@pytest.mark.slow
def test_forty_processes_fill_a_gpu_and_never_overfill_it(
    fake_nvml: FakeNvml, crowd: Crowd, capfd: pytest.CaptureFixture[str]
) -> None:
    uuid = fake_nvml.add_gpu(24 * GIB)
    ledger = crowd.policy.gpu_ledger(take_snapshot().gpus[0])
    hog = Hog(fake_nvml, uuid, ledger)
    run(crowd, ROUNDS, KILLS, hog, [ledger])
    done = check(crowd, ROUNDS, [ledger])
    assert set(devices(done)) == {"cuda:0"}
    log = events(ledger)
    assert sum(line["event"] == "holder died" for line in log) >= KILLS / 2
    use = mean_use(log, hog.history)
    with capfd.disabled():
        print(f"\n{len(done)} tasks, {KILLS} kills, {use:.1%} of what may be leased in use")
    assert use >= 0.85


def test_forty_processes_share_two_unequal_gpus(fake_nvml: FakeNvml, crowd: Crowd) -> None:
    for gib in (24, 8):
        fake_nvml.add_gpu(gib * GIB)
    ledgers = [crowd.policy.gpu_ledger(gpu) for gpu in take_snapshot().gpus]
    run(crowd, FEW_ROUNDS, FEW_KILLS, None, ledgers)
    used = devices(check(crowd, FEW_ROUNDS, ledgers))
    assert set(used) == {"cuda:0", "cuda:1"}
    assert used["cuda:0"] > used["cuda:1"]


def test_forty_processes_share_mig_instances(fake_nvml: FakeNvml, crowd: Crowd) -> None:
    parent = fake_nvml.add_gpu(80 * GIB)
    crowd.visible = tuple(fake_nvml.add_mig(parent, gib * GIB) for gib in (20, 10))
    ledgers = [crowd.policy.gpu_ledger(gpu) for gpu in take_snapshot().gpus]
    run(crowd, FEW_ROUNDS, FEW_KILLS, None, ledgers)
    # A process sees one instance, which is its first device.
    assert set(devices(check(crowd, FEW_ROUNDS, ledgers))) == {"cuda:0"}
    for ledger in ledgers:
        takes = [line for line in events(ledger) if line["event"] == "take"]
        assert len(takes) >= PROCESSES * FEW_ROUNDS / 2


def test_forty_processes_keep_to_the_gpus_named_by_uuid(fake_nvml: FakeNvml, crowd: Crowd) -> None:
    uuids = [fake_nvml.add_gpu(16 * GIB) for _ in range(4)]
    crowd.visible = (f"{uuids[2]},{uuids[1]}",)
    ledgers = [crowd.policy.gpu_ledger(gpu) for gpu in take_snapshot().gpus]
    run(crowd, FEW_ROUNDS, FEW_KILLS, None, ledgers[1:3])
    assert set(devices(check(crowd, FEW_ROUNDS, ledgers))) == {"cuda:0", "cuda:1"}
    assert events(ledgers[0]) == events(ledgers[3]) == []


def test_forty_processes_take_turns_on_the_cpu_without_nvml(crowd: Crowd) -> None:
    crowd.environment["FAKE_NVML_STATE"] = ""
    ledger = crowd.policy.cpu_ledger
    run(crowd, FEW_ROUNDS, FEW_KILLS, None, [ledger])
    done = check(crowd, FEW_ROUNDS, [])
    assert set(devices(done)) == {"cpu"}
    time.sleep(0.1)
    assert ledger.state().leases == ledger.state().waiting_bytes == ()
    held = most = 0
    for line in events(ledger):
        held += {"take": 1, "release": -1, "holder died": -1}.get(line["event"], 0)
        most = max(most, held)
    assert most == crowd.policy.cpu_limits.max_leases


def mean_use(log: list[dict[str, Any]], hog: list[tuple[float, int]]) -> float:
    """Share of what could be leased that was, over the time in which tasks were queued.

    What could be: 90 % of 24 GiB, or what the hog and the headroom of 0.5 GiB left, if that is
    less. Draining memory counts as not in use.
    """
    takes = [line["time"] for line in log if line["event"] == "take"]
    start, end = takes[PROCESSES], takes[-PROCESSES]
    held = 0
    leased: list[tuple[float, int]] = []
    for line in log:
        if line["event"] == "take":
            held += line["size_bytes"]
        elif line["event"] in ("release", "holder died"):
            held -= line["size_bytes"]
        leased.append((line["time"], held))
    moments = sorted([(*entry, "leased") for entry in leased] + [(*entry, "hog") for entry in hog])
    now = {"leased": 0, "hog": 0}
    used = possible = 0.0
    for (moment, value, what), (following, _, _) in itertools.pairwise(moments):
        now[what] = value
        if start <= moment and following <= end:
            most = min(0.9 * 24 * GIB, 24 * GIB - now["hog"] - 0.5 * GIB)
            used += min(now["leased"], most) * (following - moment)
            possible += most * (following - moment)
    return used / possible
