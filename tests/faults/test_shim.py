"""What the preloaded library does to a process of any kind."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.clips import numbered, write_video
from tests.faults import Fault

READ = "import pathlib, sys; print(pathlib.Path(sys.argv[1]).read_bytes()[:0], flush=True)"
DECODE = "import av, sys; print(av.open(sys.argv[1]).duration, flush=True)"


@pytest.mark.parametrize("script", [READ, DECODE], ids=["Python", "FFmpeg"])
def test_a_process_hangs_where_it_opens_a_marked_file_and_nowhere_else(
    shim: Path, tmp_path: Path, script: str
) -> None:
    log = tmp_path / "calls"
    fault = Fault(tmp_path, "hang", calls=("open",), matching="*/it hangs*", log=log)
    environment = os.environ | fault.environment | {"LD_PRELOAD": str(shim)}
    hangs, ends = tmp_path / "it hangs.mp4", tmp_path / "it ends.mp4"
    for path in (hangs, ends):
        write_video(path, numbered(3))
    command = [sys.executable, "-c", script]
    subprocess.run(
        [*command, str(ends)], env=environment, check=True, stdout=subprocess.PIPE, timeout=60
    )
    with subprocess.Popen([*command, str(hangs)], env=environment) as process:
        deadline = time.monotonic() + 60
        while not (log.exists() and log.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
        process.kill()
    assert log.read_text() == f"open {hangs}\n"
