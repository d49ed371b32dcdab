"""Small processes that work for this one, one connection each, and die with it.

Processes of the standard library's kind would import the main module of this one, which is Dagster
with all it needs; these are started with nothing but the imports of the module they run.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Self

PR_SET_PDEATHSIG = 1  # linux/prctl.h
# A process has this long to end by itself.
CLOSE_SECONDS = 1.0
PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[4]); "
    "from importlib import import_module; from ocr_assets.child_process import connect; "
    "connection = connect(int(sys.argv[2]), int(sys.argv[3])); "
    "import_module(sys.argv[1]).serve(connection)"
)


@dataclass(eq=False)
class ChildProcess:
    """A process, and what is said to it and by it."""

    process: subprocess.Popen[bytes]
    connection: Connection

    @classmethod
    def start(cls, module: str) -> Self:
        """Starts one.

        Args:
            module: The name of the module whose function `serve` is called with the other end of
                the connection; when it returns, the process ends.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-c", PROGRAM, module),
                    *(str(theirs.fileno()), str(os.getpid()), json.dumps(sys.path)),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        return cls(process, Connection(ours.detach()))

    def end(self, *, patient: bool) -> int:
        """Its exit code, once it has ended; at once, unless there is patience with it."""
        self.connection.close()
        if patient:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(CLOSE_SECONDS)
        self.process.kill()
        return self.process.wait()


def connect(descriptor: int, parent: int) -> Connection:
    """In the new process: its end of the connection.

    From now on the kernel kills it when the thread that started it ends, however busy it is.
    Elsewhere than on Linux it ends when it next writes to the connection or reads from it.

    Args:
        descriptor: The connection's.
        parent: Process id of the one that started this one.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit()  # it died before that
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, too, which decides
    return Connection(descriptor)
