"""C libraries that the tests put beneath the code: compiled when they are needed."""

import shutil
import subprocess
from pathlib import Path


def compile_library(source: Path, library: Path, *options: str) -> Path:
    """Compile a source file into a shared library and return the library's path.

    Raises:
        RuntimeError: There is no C compiler, or it refuses the source; tests must not skip.
    """
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise RuntimeError(f"{source.name} of the tests needs a C compiler: install gcc or clang")
    command = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror"]
    command += ["-o", str(library), str(source), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{compiler} refuses {source.name}: {done.stderr}")
    return library
