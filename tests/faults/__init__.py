"""Faults of the machine, made where they come from: at the calls of the C library.

    library = build(folder)
    fault = Fault(under=table, action="fail", at=3, error=errno.ENOSPC)
    subprocess.run([...], env=os.environ | fault.environment | {"LD_PRELOAD": str(library)})

`Forks` runs many such processes without waiting each time for what they import.
"""

import base64
import dataclasses
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from signal import SIGCONT, Signals
from typing import Any, Literal, Self

from tests.c_library import compile_library


def build(folder: Path) -> Path:
    """Compile the library that is preloaded into `folder` and return its path."""
    source = Path(__file__).with_name("shim.c")
    return compile_library(source, folder / "shim.so", "-std=gnu2x", "-ldl")


@dataclasses.dataclass(frozen=True)
class Fault:
    """What happens at which call of a process.

    Attributes:
        under: Calls on paths that begin with this count. The path must be absolute, without links.
        action: `fail`: the call does nothing and fails with `error`. `kill`, `stop`: the process
            gets SIGKILL or SIGSTOP before the call. `hang`: the thread sleeps for ever before it.
        at: The number of the call, from 1. One that is never reached counts calls and no more.
        times: How many calls fail from there on; 0: all.
        error: The errno of calls that fail.
        calls: Which kinds count: `create` (an open that creates or truncates), `open` (any other),
            `write`, `sync`, `rename` and `link` (by their new names), `unlink`, `mkdir`.
        matching: Of these only calls on paths that match this pattern; `*` matches slashes, too.
        log: A file that gets a line for each call that counts.
    """

    under: Path
    action: Literal["fail", "kill", "stop", "hang"]
    at: int = 1
    times: int = 1
    error: int = 0
    calls: tuple[str, ...] = ("create", "write", "sync", "rename", "link", "unlink", "mkdir")
    matching: str = "*"
    log: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The variables that tell the library."""
        log = {"SHIM_LOG": str(self.log)} if self.log is not None else {}
        return log | {
            "SHIM_UNDER": str(self.under),
            "SHIM_ACTION": self.action,
            "SHIM_AT": str(self.at),
            "SHIM_TIMES": str(self.times),
            "SHIM_ERRNO": str(self.error),
            "SHIM_CALLS": ",".join(self.calls),
            "SHIM_MATCHING": self.matching,
        }


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a process ended, or that it was stopped.

    Attributes:
        signal: What killed or stopped it.
        value: What its function returned.
        error: The type of the error that its function raised.
        says: What a step that fails with this error says.
        is_retried: Whether such a step is tried again.
        calls: How many calls counted.
    """

    signal: Signals | None = None
    value: Any = None
    error: str | None = None
    says: str = ""
    is_retried: bool = False
    calls: int = 0


class Forks:
    """Processes with the library preloaded that have imported what they need already."""

    def __init__(self, library: Path, *modules: str) -> None:
        """Starts the process that they are forked from.

        Args:
            library: What `build` returned.
            modules: What is imported there, besides what tables need. It may begin no threads.
        """
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.fork_server", *modules],
            env=os.environ | {"LD_PRELOAD": str(library)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate(timeout=60)

    def start(self, function: Callable[..., Any], *args: Any, fault: Fault | None = None) -> "Fork":
        """Begins to run a function of a module with these arguments in a process of its own."""
        environment = fault.environment if fault is not None else {}
        return Fork(self, self._ask("start", environment, pickle.dumps((function, args))))

    def run(self, function: Callable[..., Any], *args: Any, fault: Fault | None = None) -> Outcome:
        """The same to its end."""
        return self.start(function, *args, fault=fault).wait()

    def _ask(self, *request: Any) -> Any:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(base64.b64encode(pickle.dumps(request)) + b"\n")
        self._server.stdin.flush()
        return pickle.loads(base64.b64decode(self._server.stdout.readline()))


@dataclasses.dataclass(frozen=True)
class Fork:
    """One of these processes."""

    forks: Forks
    pid: int

    def wait(self) -> Outcome:
        """Waits until it has ended or is stopped; after five minutes it is killed."""
        outcome: Outcome = self.forks._ask("wait", self.pid)
        return outcome

    def go_on(self) -> None:
        """After it was stopped."""
        os.kill(self.pid, SIGCONT)
