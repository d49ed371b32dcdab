"""Runs as processes of this host whose death is noticed."""

import json
import socket

import dagster as dg
import psutil

# What Dagster has for writers of run launchers; it has no public name in 1.13.
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher

from ocr_assets import settings

CODE_SERVER_TAG = ".dagster/grpc_info"
CLOCK_SECONDS = 5.0  # how far the clocks of a process and of the event log may differ


class HostRunLauncher(DefaultRunLauncher):
    """Dagster's default launcher, which can tell whether a run's process still lives.

    The code server reports a run whose process dies. When the code server died as well, as in a
    restart of the host, the default launcher leaves the run as started, with its slots, for ever.
    With this one the daemon's run monitoring fails it, and so retries it.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        """It does."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """FAILED if the run's process was one of this host and is gone, else RUNNING."""
        started = self._started(run.run_id)
        if started is None or not _is_of_this_host(run):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        pid, at = started
        if _lives(pid, at):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(
            WorkerStatus.FAILED, f"its process, {pid}, is gone: killed, or the host was restarted"
        )

    def _started(self, run_id: str) -> tuple[int, float] | None:
        """The process of the run, and when it said so in seconds since the epoch."""
        for entry in self._instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
            pid = entry.get_dagster_event().engine_event_data.metadata.get("pid")
            if pid is not None:
                return int(str(pid.value)), entry.timestamp
        return None


def _is_of_this_host(run: dg.DagsterRun) -> bool:
    """Whether the run's process id means anything here.

    Behind a host name the code server may be on another host, or in another container; behind a
    socket it is one that the daemon itself started. `ocr-assets run` says where it runs.
    """
    server = json.loads(run.tags.get(CODE_SERVER_TAG, "{}"))
    return "socket" in server or run.tags.get(settings.HOST_TAG) == socket.gethostname()


def _lives(pid: int, at: float) -> bool:
    try:
        process = psutil.Process(pid)
        # A process that began later only got the same number.
        return process.status() != psutil.STATUS_ZOMBIE and (
            process.create_time() < at + CLOCK_SECONDS
        )
    except psutil.NoSuchProcess:
        return False
