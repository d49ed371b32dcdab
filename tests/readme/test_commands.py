"""Every command of README is run as it stands there, on a copy of the project."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import urllib.request
from pathlib import Path

import pytest

from ocr_assets.definitions import defs
from ocr_assets.settings import STATE_VARIABLE
from tests.deployment import free_port, wait_until
from tests.readme.markdown import PROJECT, README, Block, blocks
from tests.readme.terminal_session import TerminalSession, commands

LANGUAGES = {"bash", "python"}
OTHER_LANGUAGES = {"ini", "text", "yaml"}

# What is run instead of a command, and why.
INSTEAD = {
    # They take more than ten minutes; one installs the reference into an environment of its own.
    "python -m tests.benchmarks": "python -m tests.benchmarks --help",
    "python -m tests.benchmarks scale --json scale.json": "python -m tests.benchmarks --help",
    # Of the figures that the command before would have written.
    "python -m tests.benchmarks.forecast scale.json --nodes 4 --gpus-a-node 8": (
        "python -m tests.benchmarks.forecast --help"
    ),
}
# Options that come from the environment, for commands that are run as they are.
OPTIONS = {
    "PYTEST_ADDOPTS": "--collect-only --quiet",  # the tests would run themselves
    "PIP_PROGRESS_BAR": "off",
    # What is printed is compared with the examples.
    "COLUMNS": "80",
    "OCR_ASSETS_EASYOCR_PRECISION": "exact",
}
WEB_UI = re.compile(r"\bdagster dev$")
WEB_UI_PORT_VARIABLE = "DAGSTER_CLI_DEV_PORT"
ASSETS = {"query": "{ assetNodes { assetKey { path } } }"}


def test_every_block_is_of_a_language_whose_blocks_are_run_or_that_is_no_command() -> None:
    for block in blocks(README.read_text()):
        where = f"README.md, line {block.line}: a block of {block.language!r}"
        assert block.language in LANGUAGES | OTHER_LANGUAGES, where
        assert block.language == "bash" or not block.text.startswith("$ "), where
    in_blocks = sum(block.text.count("```") for block in blocks(README.read_text()))
    fences = README.read_text().count("```")
    assert fences - in_blocks == 2 * len(blocks(README.read_text())), "a fence within a line"


def test_what_is_run_instead_of_commands_is_about_commands_that_are_there() -> None:
    there = {
        command.strip()
        for block in blocks(README.read_text())
        if block.language == "bash"
        for command in commands(block.text)
    }
    assert INSTEAD.keys() <= there


@pytest.mark.slow
def test_everything_in_readme_works_as_it_is_written(tmp_path: Path) -> None:
    copy, kept = tmp_path / "ocr_assets", tmp_path / "kept"
    copy_of_the_project(copy)
    kept.mkdir()
    port = free_port()
    environment = {
        **surroundings(tmp_path),
        **OPTIONS,
        WEB_UI_PORT_VARIABLE: str(port),
    }
    with TerminalSession(copy, environment, kept) as session:
        printed = ""
        for block in blocks(README.read_text()):
            if block.language == "bash":
                printed = "".join(
                    run_command(session, command, port) for command in commands(block.text)
                )
            elif block.language == "python":
                run_python(session, block, kept)
            elif block.language == "text" and "verdict" in block.text:
                compare(block, printed)
        where = "cd / && python -c 'import ocr_assets; print(ocr_assets.__file__)'; cd - >&2"
        assert session.run(where).startswith(str(copy)), "something else was run than the copy"


def run_command(session: TerminalSession, command: str, port: int) -> str:
    command = INSTEAD.get(command.strip(), command)
    if not WEB_UI.search(command.strip()):
        return session.run(command)
    group, output = session.start(command)
    names = {key.to_user_string() for key in defs.resolve_all_asset_keys()}
    try:
        wait_until(
            lambda: session.runs(group) and assets_of_web_ui(port) == names,
            f"{command.strip()} shows the assets ({output})",
            seconds=300,
        )
    finally:
        session.interrupt(group)
    return output.read_text()


def run_python(session: TerminalSession, block: Block, kept: Path) -> None:
    program = kept / f"line_{block.line}.py"
    program.write_text(block.text)
    session.run(f"python '{program}'")


def compare(block: Block, printed: str) -> None:
    """The lines of an example are among those that were printed, the date aside."""
    lines = [undated(line) for line in printed.splitlines()]
    missing = [line for line in block.text.splitlines() if undated(line) not in lines]
    assert missing == [], printed


def undated(line: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\d", "<date>", line).rstrip()


def assets_of_web_ui(port: int) -> set[str]:
    """The assets that the web UI shows, none while it does not answer."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps(ASSETS).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            nodes = json.load(response)["data"]["assetNodes"]
    except OSError:
        return set()
    return {"/".join(node["assetKey"]["path"]) for node in nodes}


def copy_of_the_project(folder: Path) -> None:
    """What git has of the project, or would have with the next commit."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip(f"no git, which knows what belongs to the project: {listed.stderr}")
    for name in listed.stdout.split("\0")[:-1]:
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)


def surroundings(folder: Path) -> dict[str, str]:
    """An environment in which pip has but the project itself to install.

    The packages of the Python that runs this are importable in every new virtual environment, after
    its own, and their commands run in whichever is active.
    """
    packages, programs = folder / "packages", folder / "bin"
    packages.mkdir()
    outside = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    # Not PYTHONPATH itself, which would come before what pip installs.
    (packages / "sitecustomize.py").write_text(f"import sys\nsys.path += {outside!r}\n")
    programs.mkdir()
    for command in importlib.metadata.entry_points(group="console_scripts"):
        if command.dist is None or command.dist.name == "ocr-assets":
            continue  # that is what pip is to install
        if command.name.startswith(("pip", "python")):
            continue
        module, _, function = command.value.partition(":")
        program = programs / command.name
        program.write_text(
            "#!/usr/bin/env python\n"
            f"import sys\nfrom {module} import {function.split('.')[0]}\nsys.exit({function}())\n"
        )
        program.chmod(0o755)
    ours = ("OCR_ASSETS_", "DAGSTER_", "PYTHON", "PYTEST_", "VIRTUAL_ENV")
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
    path = [str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]
    return {
        **inherited,
        "PATH": os.pathsep.join(path),
        "PYTHONPATH": str(packages),
        STATE_VARIABLE: os.environ[STATE_VARIABLE],
    }
