"""What limits a process: the machine, its CPU affinity, its cgroups."""

import os
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from ocr_assets.gpu import host

GIB = 1024**3
MACHINE_CORES = 8
MACHINE_BYTES = 64 * GIB
MACHINE_AVAILABLE_BYTES = 48 * GIB


@dataclass
class Machine:
    """8 cores and 64 GiB, of which 48 are available; the test writes the cgroups' files."""

    groups: Path
    own: Path

    def put_process_into(self, group: str) -> None:
        """As the kernel says it where the old hierarchy is mounted, too."""
        self.own.write_text(f"12:memory:/elsewhere\n1:name=systemd:/elsewhere\n0::{group}\n")

    def write(self, group: str, **files: str) -> None:
        """Files of a group: `cpu_max` is for `cpu.max`."""
        folder = self.groups / group.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name.replace("_", ".")).write_text(f"{text}\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path / "groups", tmp_path / "own")
    machine.groups.mkdir()
    machine.put_process_into("/pod/container")
    monkeypatch.setattr(host, "CGROUPS", machine.groups)
    monkeypatch.setattr(host, "OWN_CGROUP", machine.own)
    cores = set(range(MACHINE_CORES))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: cores, raising=False)
    memory = SimpleNamespace(total=MACHINE_BYTES, available=MACHINE_AVAILABLE_BYTES)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    return machine


def memory_bytes() -> tuple[int, int]:
    return host.total_memory_bytes(), host.available_memory_bytes()


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", MACHINE_CORES),
        ("max", MACHINE_CORES),
        ("300000 100000", 3),
        ("399999 100000", 3),
        ("100000 50000", 2),
        ("50000 100000", 1),
        ("1000 100000", 1),
        ("6400000 100000", MACHINE_CORES),
    ],
)
def test_whole_cores_of_the_quota_count_but_never_less_than_one(
    machine: Machine, quota: str, cores: int
) -> None:
    machine.write("/pod/container", cpu_max=quota)
    assert host.usable_cores() == cores


@pytest.mark.parametrize(("pods", "containers"), [("2", "max"), ("2", "5"), ("5", "2")])
def test_the_least_quota_of_nested_groups_counts(
    machine: Machine, pods: str, containers: str
) -> None:
    machine.write("/", cpu_max="700000 100000")
    machine.write("/pod", cpu_max=f"{pods}00000 100000")
    quota = "max" if containers == "max" else f"{containers}00000"
    machine.write("/pod/container", cpu_max=f"{quota} 100000")
    assert host.usable_cores() == 2


def test_groups_beside_the_process_do_not_limit_it(machine: Machine) -> None:
    machine.write("/pod/other", cpu_max="100000 100000", memory_max=str(GIB))
    machine.write("/pod/container/child", cpu_max="100000 100000", memory_max=str(GIB))
    machine.write("/elsewhere", cpu_max="100000 100000", memory_max=str(GIB))
    assert host.usable_cores() == MACHINE_CORES
    assert memory_bytes() == (MACHINE_BYTES, MACHINE_AVAILABLE_BYTES)


def test_folders_above_the_cgroups_are_not_looked_into(machine: Machine) -> None:
    (machine.groups.parent / "cpu.max").write_text("100000 100000\n")
    (machine.groups.parent / "memory.max").write_text(f"{GIB}\n")
    assert host.usable_cores() == MACHINE_CORES
    assert memory_bytes() == (MACHINE_BYTES, MACHINE_AVAILABLE_BYTES)


@pytest.mark.parametrize("group", ["/", "/../../outer", "/docker/seen-from-the-host"])
def test_a_container_that_sees_only_its_own_group_is_limited_by_it(
    machine: Machine, group: str
) -> None:
    machine.put_process_into(group)
    machine.write("/", cpu_max="300000 100000", memory_max=str(4 * GIB), memory_current="0")
    assert host.usable_cores() == 3
    assert memory_bytes() == (4 * GIB, 4 * GIB)


@pytest.mark.parametrize("own", ["", "4:memory:/pod/container\n1:name=systemd:/\n", None])
def test_without_cgroups_of_version_2_the_machine_is_the_limit(
    machine: Machine, own: str | None
) -> None:
    machine.write("/pod/container", cpu_max="100000 100000", memory_max=str(GIB))
    if own is None:
        machine.own.unlink()
    else:
        machine.own.write_text(own)
    assert host.usable_cores() == MACHINE_CORES
    assert memory_bytes() == (MACHINE_BYTES, MACHINE_AVAILABLE_BYTES)


def test_missing_files_set_no_limit(machine: Machine) -> None:
    machine.write("/pod/container", memory_current=str(9 * GIB))
    assert host.usable_cores() == MACHINE_CORES
    assert memory_bytes() == (MACHINE_BYTES, MACHINE_AVAILABLE_BYTES)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read_set_no_limit(machine: Machine) -> None:
    machine.write("/pod/container", cpu_max="100000 100000", memory_max=str(GIB))
    for path in (machine.groups / "pod" / "container").iterdir():
        path.chmod(0)
    assert host.usable_cores() == MACHINE_CORES
    assert memory_bytes() == (MACHINE_BYTES, MACHINE_AVAILABLE_BYTES)


def test_a_group_without_a_limit_sets_none(machine: Machine) -> None:
    machine.write("/pod/container", memory_max="max", memory_current=str(60 * GIB))
    assert memory_bytes() == (MACHINE_BYTES, MACHINE_AVAILABLE_BYTES)


def test_available_is_what_the_group_has_not_used_of_its_limit(machine: Machine) -> None:
    machine.write("/pod/container", memory_max=str(8 * GIB), memory_current=str(3 * GIB))
    assert memory_bytes() == (8 * GIB, 5 * GIB)


def test_cached_files_that_the_kernel_gives_up_are_available(machine: Machine) -> None:
    machine.write(
        "/pod/container",
        memory_max=str(8 * GIB),
        memory_current=str(7 * GIB),
        memory_stat=f"anon {2 * GIB}\nfile {5 * GIB}\ninactive_file {4 * GIB}\nactive_file {GIB}",
    )
    assert memory_bytes() == (8 * GIB, 5 * GIB)


def test_the_tightest_of_nested_groups_counts_each_with_its_own_use(machine: Machine) -> None:
    machine.write("/pod", memory_max=str(10 * GIB), memory_current=str(9 * GIB))
    machine.write("/pod/container", memory_max=str(6 * GIB), memory_current=str(GIB))
    assert memory_bytes() == (6 * GIB, GIB)


def test_a_group_over_its_limit_has_nothing_available(machine: Machine) -> None:
    machine.write("/pod/container", memory_max=str(2 * GIB), memory_current=str(3 * GIB))
    assert memory_bytes() == (2 * GIB, 0)


@pytest.mark.parametrize("limit", [50 * GIB, MACHINE_BYTES, 10**6 * GIB, 2**64 - 1])
@pytest.mark.parametrize("used", [0, 10 * GIB])
def test_a_generous_limit_does_not_make_more_of_the_machine(
    machine: Machine, limit: int, used: int
) -> None:
    machine.write("/pod/container", memory_max=str(limit), memory_current=str(used))
    total, available = memory_bytes()
    assert total == min(limit, MACHINE_BYTES)
    assert available == min(limit - used, MACHINE_AVAILABLE_BYTES)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux alone has it")
def test_a_process_that_is_tied_to_one_core_uses_one() -> None:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        assert host.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, cores)


def test_this_machines_own_numbers_are_plausible() -> None:
    assert 1 <= host.usable_cores() <= (os.cpu_count() or 1)
    total, available = memory_bytes()
    assert 0 < available <= total <= psutil.virtual_memory().total


def test_the_process_memory_grows_with_what_it_touches() -> None:
    before = host.process_memory_bytes()
    touched = bytearray(os.urandom(64)) * 2**20
    assert host.process_memory_bytes() >= before + len(touched) * 0.9
