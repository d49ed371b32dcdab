"""Runs as processes of this host whose death is noticed."""

import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import dagster as dg

# What Dagster has for writers of run launchers; it has no public name in 1.13.
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus

from ocr_assets import run_lock, settings

PROC, MACHINE = Path("/proc"), Path("/etc/machine-id")


@dataclass(frozen=True)
class RunProcess:
    """The process of a run, as the run's executor writes it down in a tag of the run.

    Attributes:
        run_id: The run; a tag that a re-execution has copied is not its own.
        host: The host's name.
        boot: The kernel's id of the time since it was started.
        namespace: The kernel's number of the namespace that the process id is of.
        user: The effective user id.
        pid: The process id.
        ticks: When it was started, in ticks since the kernel was; no clock can change that.
        machine: The id that the host was given when it was installed; empty if it has none, as in
            most containers.
    """

    run_id: str
    host: str
    boot: str
    namespace: int
    user: int
    pid: int
    ticks: int
    machine: str = ""

    @classmethod
    def of(cls, run_id: str, pid: int) -> Self | None:
        """A living process of this host; None where the kernel does not tell, as on macOS."""
        stat = _stat(pid)
        if stat is None:
            return None
        host, user = socket.gethostname(), os.geteuid()
        return cls(run_id, host, _boot(), _namespace(), user, pid, stat.ticks, _machine())

    def as_tag(self) -> dict[str, str]:
        """For the run's tags."""
        return {settings.PROCESS_TAG: json.dumps(asdict(self))}

    def why_gone(self, run_id: str) -> str | None:
        """Why the run has no process any more; None if it has, or if that cannot be told here."""
        if (self.run_id, self.host) != (run_id, socket.gethostname()):
            return None
        if self.boot != _boot():
            if not self.machine or self.machine != _machine():
                return None  # another host may have the same name
            return f"its process, {self.pid}, is gone: the host was restarted"
        if self.namespace != _namespace() or os.geteuid() not in (self.user, 0):
            return None  # the number means another process, or is hidden from us
        stat = _stat(self.pid)
        if stat is None or stat.is_dead or stat.ticks != self.ticks:
            return f"its process, {self.pid}, is gone: it was killed, or crashed"
        return None


def why_lost(run: dg.DagsterRun) -> str | None:
    """Why a run has no process any more; None if it has, or if that cannot be told here.

    A process of a host that neither shares this one's state folder nor its name cannot be seen.
    """
    found = run_lock.look(run.run_id)
    if found is not None:
        if found.alive:
            return None
        pid = (found.record or {}).get("pid", "?")
        return f"its process, {pid}, is gone: it was killed, or crashed, or its host was restarted"
    tag = run.tags.get(settings.PROCESS_TAG)
    return RunProcess(**json.loads(tag)).why_gone(run.run_id) if tag is not None else None


class HostRunLauncher(dg.DefaultRunLauncher):
    """Dagster's default launcher, which can tell whether a run's process still lives.

    The code server reports a run whose process dies. When the code server died as well, as in a
    restart of the host, the default launcher leaves the run as started, with its slots, for ever.
    With this one the daemon's run monitoring fails it, and so retries it. Runs of other hosts than
    the daemon's are looked after by the sensor `lost_runs`, which works where they do.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        """It does."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """FAILED if the run's process was one of this host and is gone, else RUNNING."""
        why = why_lost(run)
        if why is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, why)


@dataclass(frozen=True)
class _Stat:
    is_dead: bool
    ticks: int


def _stat(pid: int) -> _Stat | None:
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in parentheses, may hold anything; see proc(5) for what comes after it.
    fields = text.rpartition(")")[2].split()
    return _Stat(fields[0] in "ZX", int(fields[19]))


def _boot() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def _namespace() -> int:
    return (PROC / "self/ns/pid").stat().st_ino


def _machine() -> str:
    try:
        return MACHINE.read_text().strip()
    except FileNotFoundError:
        return ""
