"""The process that `Forks` forks from. It runs nothing itself: threads would not survive a fork.

Its arguments are the modules that it imports beforehand.
"""

import base64
import ctypes
import dataclasses
import importlib
import os
import pickle
import signal
import sys
import time

from ocr_assets.assets.failures import describe, may_be_retried
from tests.faults import Outcome, work

PATIENCE_SECONDS = 300


def serve() -> None:
    """Answers requests until there are no more."""
    results: dict[int, int] = {}
    for line in sys.stdin.buffer:
        kind, *request = pickle.loads(base64.b64decode(line))
        answer = _start(results, *request) if kind == "start" else _wait(results, *request)
        sys.stdout.buffer.write(base64.b64encode(pickle.dumps(answer)) + b"\n")
        sys.stdout.flush()


def _start(results: dict[int, int], environment: dict[str, str], work: bytes) -> int:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        results[pid] = reading
        return pid
    function, args = pickle.loads(work)  # not before: it may import what begins threads
    os.environ.update(environment)
    shim = ctypes.CDLL(None)
    shim.shim_arm()
    try:
        outcome = Outcome(value=function(*args))
    except Exception as error:
        outcome = Outcome(
            error=type(error).__name__, says=describe(error), is_retried=may_be_retried(error)
        )
    os.write(writing, pickle.dumps(dataclasses.replace(outcome, calls=shim.shim_count())))
    os._exit(0)


def _wait(results: dict[int, int], pid: int) -> Outcome:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if found:
            break
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)
    if os.WIFSTOPPED(status):
        return Outcome(signal=signal.Signals(os.WSTOPSIG(status)))
    with os.fdopen(results.pop(pid), "rb") as file:
        answer = file.read()
    if os.WIFSIGNALED(status):
        return Outcome(signal=signal.Signals(os.WTERMSIG(status)))
    outcome: Outcome = pickle.loads(answer)
    return outcome


if __name__ == "__main__":
    for module in sys.argv[1:]:
        importlib.import_module(module)
    work.ready()
    serve()
