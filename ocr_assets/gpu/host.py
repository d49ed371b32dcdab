"""What this process may use of the machine's cores and memory."""

import os
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """How many cores' worth of time this process may use, at least 1.

    The least of the machine's cores, the process's CPU affinity and the quotas of its cgroup and
    the groups above it (version 2).
    """
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    for folder in _cgroup_folders():
        quota, _, period = (_read(folder / "cpu.max") or "max").partition(" ")
        if quota != "max":
            cores = min(cores, int(quota) // int(period))
    return max(cores, 1)


def total_memory_bytes() -> int:
    """The machine's memory, or the least limit of the process's cgroups."""
    limits = [limit for folder in _cgroup_folders() if (limit := _limit_bytes(folder)) is not None]
    return min([int(psutil.virtual_memory().total), *limits])


def available_memory_bytes() -> int:
    """Memory that can be had without swapping: the machine's, or less if a cgroup allows less."""
    available = [int(psutil.virtual_memory().available)]
    for folder in _cgroup_folders():
        limit = _limit_bytes(folder)
        if limit is not None:
            available.append(max(limit - _working_set_bytes(folder), 0))
    return min(available)


def process_memory_bytes() -> int:
    """Resident memory of this process."""
    return int(psutil.Process().memory_info().rss)


def _cgroup_folders() -> list[Path]:
    """The process's cgroup (version 2) and those above it, up to the root."""
    own = _read(OWN_CGROUP) or ""
    path = next((line[3:] for line in own.splitlines() if line.startswith("0::")), None)
    if path is None:
        return []
    folder = CGROUPS / path.lstrip("/")
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(CGROUPS))]


def _limit_bytes(folder: Path) -> int | None:
    text = _read(folder / "memory.max")
    return None if text is None or text == "max" else int(text)


def _working_set_bytes(folder: Path) -> int:
    """What the group uses, without the cached files that the kernel gives up when asked."""
    statistics = dict(line.split() for line in (_read(folder / "memory.stat") or "").splitlines())
    used = int(_read(folder / "memory.current") or 0)
    return max(used - int(statistics.get("inactive_file", 0)), 0)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None  # no such controller, or none that this process may see: no limit from it
