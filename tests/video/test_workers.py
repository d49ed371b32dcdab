"""Videos decoded side by side, in processes that may die."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from ocr_assets.reasons import Fault, Status
from ocr_assets.video.container import UnreadableVideoError
from ocr_assets.video.decode_worker import EncodedFrame
from ocr_assets.video.fingerprint import picture_hash
from ocr_assets.video.images import decode_image
from ocr_assets.video.inspection import Inspection, inspect_video
from ocr_assets.video.limits import VideoLimits
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


def kill_whoever_opens(pipe: Path, workers: DecodeWorkers, times: int) -> None:
    for _ in range(times):
        while True:
            with contextlib.suppress(OSError):  # nobody reads from it yet
                writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
                break
            time.sleep(0.01)
        pids = workers.process_ids
        kill_when_decoding(workers)
        os.close(writer)
        while workers.process_ids == pids:
            time.sleep(0.01)


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


def test_a_worker_is_told_no_passwords_but_those_that_it_reads_with(
    clips: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {
        "PGPASSWORD": "a",
        "PGPASSFILE": "/run/b",
        "OCR_ASSETS_POSTGRES_URL": "postgresql://dagster@db/dagster",
        "OCR_ASSETS_POSTGRES_URL_FILE": "/run/c",
        "DAGSTER_PG_PASSWORD": "d",
        "RAY_AUTH_TOKEN": "e",
        "RAY_AUTH_TOKEN_PATH": "/run/f",
        "HF_TOKEN": "g",
        "SENTRY_DSN": "https://h@example.org/1",
        "SSH_AUTH_SOCK": "/run/i",
        "RESULTS": "amqp://user:j@example.org/results",
    }
    needed = {
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "l",
        "AWS_SESSION_TOKEN": "m",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/run/n",
        "AZURE_STORAGE_ACCOUNT_KEY": "o",
        "GOOGLE_SERVICE_ACCOUNT": "/run/p",
        "HTTPS_PROXY": "http://user:q@proxy:3128",
        "LD_LIBRARY_PATH": "/opt/r",
        "OCR_ASSETS_SOURCE": "s3://videos",
    }
    for name, value in (secrets | needed).items():
        monkeypatch.setenv(name, value)
    with DecodeWorkers(1) as workers:
        assert len(list(next(workers.sample(clips[:1], RULE)))) == 2
        (pid,) = workers.process_ids
        seen = psutil.Process(pid).environ()
    assert seen.keys() & secrets.keys() == set()
    assert {name: seen.get(name) for name in needed} == needed
    assert seen["PATH"] == os.environ["PATH"]


def test_no_process_is_started_without_need(clips: list[str]) -> None:
    with DecodeWorkers(8) as workers:
        assert list(workers.sample([], RULE)) == []
        assert workers.process_ids == []
        assert [len(list(frames)) for frames in workers.sample(clips[:2], RULE)] == [2, 3]
        pids = workers.process_ids
        assert 1 <= len(pids) <= 2
    wait_until_gone(pids)


def test_a_video_that_kills_two_processes_costs_itself_alone(
    clips: list[str], tmp_path: Path
) -> None:
    pipe = tmp_path / "never_written.mp4"
    os.mkfifo(pipe)  # whoever opens it waits for a writer for ever, like a decoder that hangs
    paths = [clips[0], str(pipe), *clips[1:]]
    outcomes: list[object] = []
    with DecodeWorkers(1) as workers, ThreadPoolExecutor(1) as thread:
        killed = thread.submit(kill_whoever_opens, pipe, workers, 2)
        for number, frames in enumerate(workers.sample(paths, RULE)):
            outcomes.append(fails(frames) if number == 1 else len(list(frames)))
        killed.result()
    assert outcomes == [2, "the decoder process died (signal 11)", 3, 3, 3, 3, 3]


def test_a_video_in_a_process_that_an_earlier_one_broke_is_tried_again_and_read(
    clips: list[str], tmp_path: Path
) -> None:
    pipe = tmp_path / "a_pipe_at_first.mp4"
    os.mkfifo(pipe)

    def kill_and_write() -> None:
        kill_whoever_opens(pipe, workers, 1)
        shutil.copy(clips[1], tmp_path / "whole.mp4")
        (tmp_path / "whole.mp4").replace(pipe)  # a new process takes longer than that to start

    with DecodeWorkers(1) as workers, ThreadPoolExecutor(1) as thread:
        written = thread.submit(kill_and_write)
        found = [len(list(frames)) for frames in workers.sample([clips[0], str(pipe)], RULE)]
        written.result()
    assert found == [2, 3]


def test_a_video_that_takes_too_long_is_ended_and_the_others_go_on(
    clips: list[str], tmp_path: Path
) -> None:
    pipe = tmp_path / "never_written.mp4"
    os.mkfifo(pipe)
    with DecodeWorkers(2, VideoLimits(max_seconds=1.5)) as workers:
        found = list(workers.inspect([*clips[:2], str(pipe), *clips[2:]]))
    message = "decoding took longer than 1.5 s"
    assert found.pop(2) == Inspection(fault=Fault(Status.TIMEOUT, message))
    assert [one.fault for one in found] == [None] * 6


def test_time_in_which_nobody_asks_for_frames_does_not_count(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    noise = [random.integers(0, 256, (720, 1280, 3), np.uint8) for _ in range(12)]
    path = str(write_video(tmp_path / "noise.mkv", noise, codec="ffv1", pix_fmt="yuv444p", rate=12))
    began = time.monotonic()
    with DecodeWorkers(1) as workers:
        assert len(list(next(workers.sample([path], SamplingRule(12))))) == 12
    needed = time.monotonic() - began
    with DecodeWorkers(1, VideoLimits(max_seconds=needed + 1)) as workers:
        found = []
        for frame in next(workers.sample([path], SamplingRule(12))):
            found.append(frame.index)
            time.sleep(needed / 4)
    assert found == list(range(12))


@pytest.mark.skipif(sys.platform != "linux", reason="memory limits are the Linux kernel's")
def test_a_video_that_takes_too_much_memory_is_ended_and_the_others_go_on(
    clips: list[str], tmp_path: Path
) -> None:
    pictures = numbered(2, 7680, 4320)
    large = write_video(tmp_path / "large.mkv", pictures, codec="ffv1", pix_fmt="yuv444p")
    paths = [*clips[:2], str(large), *clips[2:]]
    with DecodeWorkers(1, VideoLimits(max_memory_bytes=128 * 2**20)) as workers:
        outcomes = []
        for number, frames in enumerate(workers.sample(paths, RULE)):
            outcomes.append(fails(frames) if number == 2 else len(list(frames)))
    message = "the decoder needed more memory than it may have (0.1 GiB)"
    assert outcomes == [2, 3, message, 3, 3, 3, 3]
    with DecodeWorkers(1) as workers:
        assert len(list(next(workers.sample([str(large)], RULE)))) == 2


def test_a_video_with_many_frames_is_handed_over_bit_by_bit(tmp_path: Path) -> None:
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
