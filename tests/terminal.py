"""A terminal that a command runs on, and what is to be seen on it.

with Terminal(command, cwd=folder) as terminal:
    terminal.read_until("of 3 frames")
    terminal.press_control_c()
    status = terminal.read_to_the_end()
"""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from types import TracebackType
from typing import Self

ROWS, COLUMNS = 50, 100
# Makes the terminal the one that Ctrl-C on it interrupts, then becomes the command.
BECOME = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)
PIECE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|[\r\n]|[^\x1b\r\n]+")


class Terminal:
    """A pseudo-terminal with a command on it, which is killed if the block ends before it does.

    Attributes:
        written: All that was written to it so far.
    """

    def __init__(self, command: list[str], cwd: Path) -> None:
        self.written = ""
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        gone = {"DAGSTER_HOME", "COLUMNS", "LINES", "NO_COLOR"}
        inherited = {name: value for name, value in os.environ.items() if name not in gone}
        self._process = subprocess.Popen(
            [sys.executable, "-c", BECOME, *command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            cwd=cwd,
            env=inherited | {"TERM": "xterm-256color"},
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def press_control_c(self) -> None:
        os.write(self._ours, b"\x03")

    def read_until(self, text: str) -> None:
        while text not in self.written:
            assert self._read(), f"it ended without {text!r}:\n{self.written}"

    def read_to_the_end(self) -> int:
        """The command's exit status."""
        while self._read():
            pass
        return self._process.wait()

    def screen(self) -> list[str]:
        """The lines that are to be seen, without spaces at their ends.

        Of what terminals can do it knows what the command uses: moving up, erasing a line, colours.
        """
        lines, row, column = [""], 0, 0
        for piece in PIECE.finditer(self.written):
            count, what = piece.groups()
            if what == "A":
                row -= int(count or 1)
            elif what == "K":
                lines[row] = ""
            elif what is not None:
                assert what in "mhl", piece[0]
            elif piece[0] == "\r":
                column = 0
            elif piece[0] == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            else:
                before, after = lines[row][:column], lines[row][column + len(piece[0]) :]
                lines[row] = before.ljust(column) + piece[0] + after
                column += len(piece[0])
        return [line.rstrip() for line in lines]

    def shows_the_cursor(self) -> bool:
        return self.written.rfind("\x1b[?25h") >= self.written.rfind("\x1b[?25l")

    def _read(self) -> bool:
        try:
            read = os.read(self._ours, 65_536)
        except OSError:  # nobody has it open any more
            return False
        self.written += read.decode(errors="replace")
        return True
