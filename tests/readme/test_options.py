"""Commands and options that README names within its sentences."""

import contextlib
import functools
import io
import re
import shlex
import subprocess
import sys

import pytest

from ocr_assets.cli import main
from tests.readme.markdown import PROJECT, README, blocks, code_spans

COMMAND = re.compile(r"(?:^|[ /])(?P<command>ocr-assets .*|python -m .*)")
OPTION = re.compile(r"--[a-z][a-z0-9-]*")
# Further commands whose options README names.
OTHER_COMMANDS = (["ruff", "format"], ["dagster-webserver"])
PROGRAMS = {
    "python": [sys.executable],
    "ruff": [sys.executable, "-m", "ruff"],
    "dagster-webserver": [sys.executable, "-m", "dagster_webserver"],
}


def named_commands() -> list[str]:
    """Commands in single backticks, and in blocks."""
    markdown = README.read_text()
    in_blocks = [
        part.strip()
        for block in blocks(markdown)
        if block.language == "bash"
        for line in block.text.splitlines()
        for part in line.split("&&")
    ]
    found = (COMMAND.search(text) for text in [*code_spans(markdown), *in_blocks])
    return sorted({match["command"] for match in found if match})


@functools.cache
def help_of(*words: str) -> str:
    """What a command says of itself; words that it does not know are refused before that."""
    if words[0] == "ocr-assets":
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown), pytest.raises(SystemExit) as ended:
            main([*words[1:], "--help"])
        assert ended.value.code == 0, shlex.join(words)
        return shown.getvalue()
    command = [*PROGRAMS[words[0]], *words[1:], "--help"]
    asked = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert asked.returncode == 0, f"{shlex.join(words)}: {asked.stderr}"
    return asked.stdout


@pytest.mark.parametrize("command", named_commands())
def test_a_command_in_a_sentence_exists_with_its_options(command: str) -> None:
    words = shlex.split(command)
    known = OPTION.findall(help_of(*words))
    assert {word for word in words if OPTION.fullmatch(word)} <= set(known)


def test_an_option_in_a_sentence_is_one_of_a_command_in_readme() -> None:
    spans = [span for span in code_spans(README.read_text()) if span.startswith("--")]
    commands = [*map(shlex.split, named_commands()), *OTHER_COMMANDS]
    known = {option for words in commands for option in OPTION.findall(help_of(*words))}
    assert {option for span in spans for option in OPTION.findall(span)} <= known
