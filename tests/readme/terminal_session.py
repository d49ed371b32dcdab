"""A bash session, as somebody has it who follows README."""

import os
import select
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from tests.deployment import kill_tree

TAIL = 6_000


def commands(text: str) -> Iterator[str]:
    """The commands of a block one by one, those over several lines too."""
    pending = ""
    for line in text.splitlines(keepends=True):
        pending += line
        if not pending.endswith("\\\n") and _is_complete(pending):
            if not pending.isspace():
                yield pending
            pending = ""
    if pending:
        raise ValueError(f"bash waits for more after {pending!r}")


class TerminalSession:
    """Commands typed into one bash: the folder, the variables and what is activated stay.

    Each is written to a file and sourced, so that bash reads it as it is. What they print is kept
    in files beside those.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], kept: Path) -> None:
        self._kept = kept
        self._count = 0
        self._started: list[int] = []
        self._statuses, statuses = os.pipe()
        self._to = statuses
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[statuses],
            start_new_session=True,
        )
        os.close(statuses)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in (*self._started, self._bash.pid):
            kill_tree(process)
        assert self._bash.stdin is not None
        self._bash.stdin.close()
        self._bash.wait()
        os.close(self._statuses)

    def run(self, command: str, seconds: float = 500) -> str:
        """What a command prints, once it has ended; it has to succeed."""
        step, output = self._step(command)
        status = self._ask(f"{self._source(step, output)}; echo $? >&{self._to}", seconds)
        printed = output.read_text(errors="backslashreplace")
        assert status == 0, f"{command.strip()}: exit code {status} ({output})\n{printed[-TAIL:]}"
        return printed

    def start(self, command: str) -> tuple[int, Path]:
        """Begins a command in the background.

        Returns:
            The process group, to be given to `interrupt`, and the file that gets what it prints.
        """
        step, output = self._step(command)
        # With job control a command in the background gets a process group of its own, and can be
        # interrupted.
        line = f"set -m; {self._source(step, output)} & set +m; echo $! >&{self._to}"
        group = self._ask(line, seconds=60)
        self._started.append(group)
        return group, output

    def runs(self, group: int) -> bool:
        """Whether a command that was begun in the background has not ended; it has to go on."""
        assert psutil.pid_exists(group), f"a command in the background has ended, see {self._kept}"
        return True

    def interrupt(self, group: int, seconds: float = 60) -> None:
        """Does what Ctrl-C does, and returns when all of a command's processes have ended."""
        if not psutil.pid_exists(group):
            return
        leader = psutil.Process(group)
        family = [leader, *leader.children(recursive=True)]
        os.killpg(group, signal.SIGINT)
        _, alive = psutil.wait_procs(family, timeout=seconds)
        for process in alive:
            kill_tree(process.pid)
        psutil.wait_procs(alive, timeout=seconds)

    def _step(self, command: str) -> tuple[Path, Path]:
        self._count += 1
        step = self._kept / f"{self._count:02}.sh"
        step.write_text(command)
        return step, step.with_suffix(".txt")

    def _source(self, step: Path, output: Path) -> str:
        """A command without the pipes of this class, which a process left behind would hold."""
        files = f"</dev/null >{shlex.quote(str(output))} 2>&1 {self._to}>&-"
        return f"source {shlex.quote(str(step))} {files}"

    def _ask(self, line: str, seconds: float) -> int:
        assert self._bash.stdin is not None
        self._bash.stdin.write(f"{line}\n".encode())
        self._bash.stdin.flush()
        readable, _, _ = select.select([self._statuses], [], [], seconds)
        assert readable, f"not within {seconds:.0f} s: {line}"
        answer = os.read(self._statuses, 100)
        assert answer, f"it ended the session: {line}"
        return int(answer)


def _is_complete(text: str) -> bool:
    # A here-document without its end is only warned of.
    checked = subprocess.run(
        ["bash", "-n"], input=text, capture_output=True, text=True, check=False
    )
    return checked.returncode == 0 and not checked.stderr
