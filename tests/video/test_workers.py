"""Videos decoded side by side, in processes that may die."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ocr_assets.video.container import UnreadableVideoError
from ocr_assets.video.decode_worker import EncodedFrame
from ocr_assets.video.fingerprint import picture_hash
from ocr_assets.video.images import decode_image
from ocr_assets.video.inspection import inspect_video
from ocr_assets.video.sampling import SamplingRule, sample_frames, sampling_key
from ocr_assets.video.workers import DecodeWorkers
from tests.clips import numbered, write_video

RULE = SamplingRule(3)
WAIT_SECONDS = 30


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("clips")
    return [str(write_video(folder / f"{n}.mp4", numbered(2 + n))) for n in range(6)]


def kill_when_decoding(workers: DecodeWorkers) -> None:
    (pid,) = workers.process_ids
    os.kill(pid, signal.SIGSEGV)


def fails(frames: Iterator[EncodedFrame]) -> str:
    with pytest.raises(UnreadableVideoError) as raised:
        list(frames)
    return str(raised.value)


def wait_until_gone(pids: list[int]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while any(psutil.pid_exists(pid) and is_running(pid) for pid in pids):
        assert time.monotonic() < end, f"{pids} are still there"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_workers_give_the_frames_of_each_video_in_the_order_of_the_videos(
    clips: list[str],
) -> None:
    with DecodeWorkers(2) as workers:
        found = [list(frames) for frames in workers.sample(clips, RULE)]
    for path, frames in zip(clips, found, strict=True):
        expected = list(sample_frames(path, RULE))
        assert [(one.index, one.pts) for one in frames] == [
            (one.index, one.pts) for one in expected
        ]
        for one, frame in zip(frames, expected, strict=True):
            assert (decode_image(one.image.data) == frame.rgb).all()
            assert (one.height, one.width, 3) == frame.rgb.shape
            assert one.image_hash == picture_hash(frame.rgb)


def test_workers_say_of_a_file_what_this_process_would(clips: list[str], tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "notes.mp4").write_text("not a video")
    others = [str(tmp_path / name) for name in ("empty.mp4", "notes.mp4", "none.mp4", "")]
    paths = [*others, *clips]
    with DecodeWorkers(2) as workers:
        assert list(workers.inspect(paths)) == [inspect_video(path) for path in paths]


def test_no_process_is_started_without_need(clips: list[str]) -> None:
    with DecodeWorkers(8) as workers:
        assert list(workers.sample([], RULE)) == []
        assert workers.process_ids == []
        assert [len(list(frames)) for frames in workers.sample(clips[:2], RULE)] == [2, 3]
        pids = workers.process_ids
        assert 1 <= len(pids) <= 2
    wait_until_gone(pids)


def test_a_process_that_dies_costs_its_video_alone(clips: list[str], tmp_path: Path) -> None:
    pipe = tmp_path / "never_written.mp4"
    os.mkfifo(pipe)  # whoever opens it waits for a writer for ever, like a decoder that hangs
    with DecodeWorkers(1) as workers:
        outcomes: list[object] = []
        for number, frames in enumerate(workers.sample([clips[0], str(pipe), *clips[1:]], RULE)):
            if number == 1:
                kill_when_decoding(workers)
                outcomes.append(fails(frames))
            else:
                outcomes.append(len(list(frames)))
    assert outcomes == [2, "the decoder process died (signal 11)", 3, 3, 3, 3, 3]


def test_a_video_with_many_frames_is_handed_over_bit_by_bit(tmp_path: Path) -> None:
    import numpy as np

    random = np.random.default_rng(1)
    noise = [random.integers(0, 256, (720, 1280, 3), np.uint8) for _ in range(12)]
    path = str(write_video(tmp_path / "noise.mkv", noise, codec="ffv1", pix_fmt="yuv444p", rate=12))
    with DecodeWorkers(1) as workers:
        frames = next(workers.sample([path], SamplingRule(12)))
        assert next(frames).index == 0
        kill_when_decoding(workers)
        taken = []
        with pytest.raises(UnreadableVideoError, match="signal 11"):
            taken.extend(frame.index for frame in frames)
    assert len(taken) < 11


def test_an_iteration_that_was_given_up_is_not_in_the_way_of_the_next(clips: list[str]) -> None:
    with DecodeWorkers(2) as workers:
        next(workers.sample(clips, RULE))
        assert [len(list(frames)) for frames in workers.sample(clips[:1], RULE)] == [2]


@pytest.mark.parametrize("exception", [RuntimeError, KeyboardInterrupt])
def test_no_process_is_left_after_an_exception(
    clips: list[str], exception: type[BaseException]
) -> None:
    pids: list[int] = []
    with pytest.raises(exception), DecodeWorkers(2) as workers:
        next(next(workers.sample(clips, RULE)))
        pids += workers.process_ids
        raise exception
    assert pids
    wait_until_gone(pids)


def test_processes_die_with_the_one_that_started_them_even_if_it_is_killed(
    tmp_path: Path,
) -> None:
    pipe = tmp_path / "never_written.mp4"
    os.mkfifo(pipe)
    program = (
        "import sys, threading, time\n"
        "from ocr_assets.video.workers import DecodeWorkers\n"
        "from ocr_assets.video.sampling import SamplingRule\n"
        "with DecodeWorkers(1) as workers:\n"
        "    def tell():\n"
        "        while not workers.process_ids: time.sleep(0.01)\n"
        "        print(*workers.process_ids, flush=True)\n"
        "    threading.Thread(target=tell, daemon=True).start()\n"
        "    next(next(workers.sample([sys.argv[1]], SamplingRule(1))))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(pipe)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert pids
    wait_until_gone(pids)


def test_a_worker_imports_little() -> None:
    heavy = ("dagster", "torch", "easyocr", "polars", "cv2", "deltalake", "psutil", "pydantic")
    program = (
        "import sys, av, ocr_assets.video.decode_worker\n"
        f"print(*[name for name in {heavy} if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == []


def test_a_sampling_key_tells_rules_apart() -> None:
    rules = [SamplingRule(1), SamplingRule(2), SamplingRule(2, 0.5), SamplingRule(3, 0.25)]
    assert len({sampling_key(rule) for rule in rules}) == 4
    assert sampling_key(SamplingRule(1, 0.5)) == sampling_key(SamplingRule(2, 0.5))
