"""Parts of the benchmark that run in a process of their own.

So the benchmark's own process loads nothing that the measured ones load, see `measure`.
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import measure_command
from tests.benchmarks.settings import (
    CACHE_VARIABLE,
    REPOSITORY,
    clean_environment,
    scratch_folder,
)


def run_apart(
    module: str,
    *,
    python: str | Path = sys.executable,
    environment: Mapping[str, str] | None = None,
    **arguments: Any,
) -> Any:
    """Runs a module of this package that ends with `answer(...)`.

    Args:
        module: Its name in `tests.benchmarks`.
        python: The interpreter.
        environment: Its environment variables; by default this process's.
        arguments: What its function is given; anything that JSON has.

    Returns:
        What its function returned.
    """
    with scratch_folder() as scratch:
        told, answered = scratch / "arguments.json", scratch / "answer.json"
        told.write_text(json.dumps(arguments))
        measure_command(
            [python, "-m", f"tests.benchmarks.{module}", told, answered],
            environment={
                **(clean_environment() if environment is None else environment),
                CACHE_VARIABLE: str(scratch.parent),
            },
            folder=REPOSITORY,
            log=scratch / "log.txt",
        )
        return json.loads(answered.read_text())


def answer(function: Callable[..., Any]) -> None:
    """Calls a function with the arguments that `run_apart` was given."""
    told, answered = map(Path, sys.argv[1:])
    answered.write_text(json.dumps(function(**json.loads(told.read_text()))))
