"""What may not be read is reported. Run as nobody, since root may read everything."""

import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.queues import Queue
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ocr_assets.video.inspection import inspect_video
from ocr_assets.video.listing import list_folder

NOBODY = 65534


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach, unlike pytest's."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def _look(folder: Path, results: "Queue[dict[str, str | None]]") -> None:
    if os.geteuid() == 0:
        # Once before, for what is imported late: nobody may not be let into the environment.
        inspect_video(folder / "text.mp4")
        os.seteuid(NOBODY)
    found = {}
    for sample in list_folder(folder, folder):
        (video,) = sample.videos
        fault = video.fault or inspect_video(video.path).fault
        found[sample.sample_id] = fault and fault.message
    results.put(found)


def test_unreadable_files_and_folders_are_reported_and_the_rest_goes_on(open_folder: Path) -> None:
    (open_folder / "secret.mp4").write_text("not for you")
    (open_folder / "secret.mp4").chmod(0)
    (open_folder / "locked").mkdir(mode=0)
    (open_folder / "listed").mkdir()
    (open_folder / "listed" / "inner.mp4").touch()
    (open_folder / "listed").chmod(0o444)  # its names can be read, but not what they stand for
    (open_folder / "text.mp4").write_text("not a video")
    context = multiprocessing.get_context("spawn")
    results: Queue[dict[str, str | None]] = context.Queue()
    process = context.Process(target=_look, args=(open_folder, results))
    process.start()
    found = results.get(timeout=60)
    process.join()
    for name in ("locked", "listed"):
        (open_folder / name).chmod(0o755)
    assert found == {
        "listed/inner.mp4": "it cannot be listed: Permission denied",
        "locked": "it cannot be listed: Permission denied",
        "secret.mp4": "Permission denied",
        "text.mp4": "it is not a video in a supported format, or it is damaged",
    }
