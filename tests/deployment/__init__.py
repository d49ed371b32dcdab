"""The project as an operator runs it: daemon and webserver as processes, driven through GraphQL.

with Deployment(folder, environment) as deployment:
    run_id = deployment.launch("2026-01-01")
    deployment.wait_for({run_id})
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PROJECT = Path(__file__).parents[2]
LOCATION = {
    "repositoryLocationName": "ocr_assets",
    "repositoryName": "__repository__",
}
FINISHED = {"SUCCESS", "FAILURE", "CANCELED"}

LAUNCH = """
mutation($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PythonError { message }
  }
}
"""
RUNS = """
query($ids: [String!]) {
  runsOrError(filter: {runIds: $ids}, limit: 1000) {
    ... on Runs { results {
      runId status startTime endTime rootRunId parentRunId tags { key value }
    } }
  }
}
"""
ALL_RUNS = RUNS.replace("query($ids: [String!])", "query").replace("filter: {runIds: $ids}, ", "")
EVENTS = """
query($id: ID!, $cursor: String) {
  logsForRun(runId: $id, afterCursor: $cursor) {
    ... on EventConnection {
      cursor hasMore
      events { __typename ... on MessageEvent { message stepKey timestamp } }
    }
  }
}
"""
POOL = """
query($pool: String!) {
  instance { concurrencyLimit(concurrencyKey: $pool) {
    limit slotCount
    claimedSlots { runId stepKey }
    pendingSteps { runId stepKey assignedTimestamp }
  } }
}
"""


class Deployment:
    """One instance with the project's own dagster.yaml, under a folder of its own.

    Its workspace.yaml is the project's, too, unless another one's text is given.
    """

    def __init__(
        self, home: Path, environment: Mapping[str, str], workspace: str | None = None
    ) -> None:
        self.home = home
        self._environment = {**os.environ, **environment, "DAGSTER_HOME": str(home)}
        self._port = free_port()
        self.daemon: subprocess.Popen[bytes] | None = None
        self.webserver: subprocess.Popen[bytes] | None = None
        home.mkdir(parents=True)
        for name in ("dagster.yaml", "workspace.yaml"):
            shutil.copy(PROJECT / name, home / name)
        if workspace is not None:
            (home / "workspace.yaml").write_text(workspace)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        self.start_webserver()
        self.start_daemon()

    def stop(self) -> None:
        """Kills whatever was started, and the runs it started."""
        for process in (self.daemon, self.webserver):
            if process is not None:
                kill_tree(process.pid)
                process.wait()

    def start_webserver(self) -> None:
        arguments = ["-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(self._port)]
        self.webserver = self._start("webserver", [*arguments, "-w", "workspace.yaml"])
        wait_until(self._answers, "the webserver answers")

    def start_daemon(self) -> None:
        arguments = ["-m", "dagster._daemon", "run", "-w", "workspace.yaml"]
        self.daemon = self._start("daemon", arguments)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `ocr-assets` in the deployment's environment."""
        return subprocess.run(
            [sys.executable, "-m", "ocr_assets.cli", *arguments],
            cwd=self.home,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def graphql(self, query: str, **variables: Any) -> Any:
        request = urllib.request.Request(
            f"{self.url}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def launch(
        self,
        date: str,
        config: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        assets: Collection[str] | None = None,
        location: str = LOCATION["repositoryLocationName"],
    ) -> str:
        """Launches `daily_job` as the launchpad does, all of it or some assets.

        Returns:
            The run's id.
        """
        selection = None if assets is None else [{"path": [asset]} for asset in assets]
        tags = {"dagster/partition": date, **(tags or {})}
        params = {
            "selector": {
                **LOCATION,
                "repositoryLocationName": location,
                "pipelineName": "daily_job",
                "assetSelection": selection,
            },
            "mode": "default",
            "runConfigData": config or {},
            "executionMetadata": {"tags": [{"key": k, "value": v} for k, v in tags.items()]},
        }
        answer = self.graphql(LAUNCH, params=params)["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        run_id: str = answer["run"]["runId"]
        return run_id

    def runs(self, run_ids: Collection[str] | None = None) -> dict[str, dict[str, Any]]:
        """Runs by their ids; all that there are unless some are asked for."""
        answer = (
            self.graphql(ALL_RUNS) if run_ids is None else self.graphql(RUNS, ids=list(run_ids))
        )
        return {
            run["runId"]: {**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}}
            for run in answer["runsOrError"]["results"]
        }

    def wait_for(self, run_ids: Collection[str], seconds: float = 300) -> None:
        """Returns when the runs have ended, however they ended."""

        def ended() -> bool:
            return all(run["status"] in FINISHED for run in self.runs(run_ids).values())

        wait_until(ended, f"{len(run_ids)} runs end", seconds, pause=1.0)

    def events(self, run_id: str) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        cursor = None
        while True:
            page = self.graphql(EVENTS, id=run_id, cursor=cursor)["logsForRun"]
            events += page["events"]
            cursor = page["cursor"]
            if not page["hasMore"]:
                return events

    def messages(self, run_id: str) -> str:
        return "\n".join(str(event.get("message")) for event in self.events(run_id))

    def pool(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.graphql(POOL, pool=name)["instance"]["concurrencyLimit"]
        return found

    def log(self, name: str) -> str:
        return (self.home / f"{name}.log").read_text()

    def _start(self, name: str, arguments: list[str]) -> subprocess.Popen[bytes]:
        with (self.home / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self.home,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _answers(self) -> bool:
        assert self.webserver is not None
        assert self.webserver.poll() is None, self.log("webserver")
        try:
            self.graphql("query { version }")
        except OSError:
            return False
        return True


class DevDeployment(Deployment):
    """The same as people begin with it: `dagster dev`, which starts both and their code server."""

    def start(self) -> None:
        arguments = ["-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(self._port)]
        self.webserver = self._start("webserver", arguments)
        wait_until(self._answers, "the webserver answers")


def wait_until(
    condition: Callable[[], bool], what: str, seconds: float = 120, pause: float = 0.2
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(pause)


def kill_tree(pid: int) -> None:
    """Kills a process with SIGKILL, and all that it started."""
    import psutil

    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        try:
            member.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
