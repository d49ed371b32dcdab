"""The terminal that README's commands are typed into notices what goes wrong in it."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.deployment import wait_until
from tests.readme.terminal_session import TerminalSession, commands


@pytest.fixture
def session(tmp_path: Path) -> Iterator[TerminalSession]:
    kept = tmp_path / "it's kept"
    kept.mkdir()
    with TerminalSession(tmp_path, {"PATH": "/usr/local/bin:/usr/bin:/bin"}, kept) as session:
        yield session


def test_a_block_is_taken_apart_into_its_commands() -> None:
    block = (
        "cd a && \\\n  ls\n\n# a comment\nfor x in 1 2; do\n  echo $x\ndone\ncat <<END\nit\nEND\n"
    )
    assert list(commands(block)) == [
        "cd a && \\\n  ls\n",
        "# a comment\n",
        "for x in 1 2; do\n  echo $x\ndone\n",
        "cat <<END\nit\nEND\n",
    ]
    with pytest.raises(ValueError, match="bash waits for more"):
        list(commands("for x in 1 2; do\n"))


def test_what_a_command_changes_holds_for_the_next(session: TerminalSession) -> None:
    session.run("mkdir folder && cd folder; name=value; export other='a b'\n")
    assert session.run('basename "$PWD"; echo "$name $other"').split() == [
        *("folder", "value", "a", "b")
    ]


@pytest.mark.parametrize("command", ["echo said; false", "ls missing && echo not reached", "if"])
def test_a_command_that_fails_is_told_with_what_it_printed(
    session: TerminalSession, command: str
) -> None:
    with pytest.raises(AssertionError, match=r"exit code [12]"):
        session.run(command)


def test_a_command_that_ends_the_session_is_told(session: TerminalSession) -> None:
    with pytest.raises(AssertionError, match="it ended the session"):
        session.run("exit 0")


def test_a_command_in_the_background_is_interrupted_with_all_it_started(
    session: TerminalSession,
) -> None:
    group, output = session.start("sleep 1000 | sleep 1000; echo not reached")
    leader = psutil.Process(group)
    wait_until(lambda: len(leader.children()) == 2, "both have begun")
    assert session.runs(group)
    family = [leader, *leader.children()]
    session.interrupt(group)
    assert not any(process.is_running() for process in family)
    assert output.read_text() == ""
    with pytest.raises(AssertionError, match="has ended"):
        session.runs(group)
