"""Small processes that work for this one, one connection each, and die with it.

Processes of the standard library's kind would import the main module of this one, which is Dagster
with all it needs; these are started with nothing but the imports of the module they run.

They work on what strangers made, and are not told the passwords and tokens that this process has in
its environment; those of an object storage stay, as videos are read from there. This hides what a
decoder could give away by mistake. It is no sandbox: whoever runs code of his own there can ask
this process, which is the same user's.
"""

import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Self

PR_SET_PDEATHSIG = 1  # linux/prctl.h
# A process has this long to end by itself; on a busy host that can take more than a second.
CLOSE_SECONDS = 5.0
# Variables of libpq, Dagster, Ray and others by their names, and URLs with a password in them.
SECRET_NAME = re.compile(r"^PG|PASS|TOKEN|SECRET|CREDENTIAL|KEY|AUTH|POSTGRES|DATABASE|DSN", re.I)
SECRET_VALUE = re.compile(r"://[^/\s@]*:[^/\s@]+@")
# What object storages are reached with.
NEEDED_NAME = re.compile(r"^(AWS|AZURE|GOOGLE)_|_PROXY$", re.I)
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
                env=environment_without_secrets(os.environ),
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


def environment_without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """What a process sees of its parent's environment.

    Passwords, tokens and keys, as far as names and values show them, are not in it, but for those
    that object storages and proxies are reached with.
    """
    return {
        name: value
        for name, value in environment.items()
        if NEEDED_NAME.search(name) or not (SECRET_NAME.search(name) or SECRET_VALUE.search(value))
    }


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
