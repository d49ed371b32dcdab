"""Detection that moves between devices: fake GPUs under the real NVML, ledger, pool and session."""

import dataclasses
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ocr_assets.gpu.faults import DeviceError, DeviceFaultError
from ocr_assets.gpu.footprint import CONTEXT_BYTES
from ocr_assets.gpu.placement import NoRoomError, PlacementPolicy
from ocr_assets.gpu.snapshot import take_snapshot
from ocr_assets.ocr.boxes import TextBox
from ocr_assets.ocr.canvas import Picture
from ocr_assets.ocr.detector import DetectionError, Detector, ModelSettings
from ocr_assets.ocr.outcome import Detected
from ocr_assets.ocr.reader import Sizing
from ocr_assets.ocr.reader_pool import ReaderPool
from ocr_assets.ocr.session import DetectionSession
from ocr_assets.ocr.thresholds import DetectionThresholds
from tests.fake_nvml import GIB, Allocation, FakeNvml, allocate, used_bytes
from tests.gpu.fake_detector import (
    Appetite,
    CpuDetector,
    FakeDetector,
    FakeLoader,
    made_up_text,
)

MODEL = ModelSettings(precision="exact")
THRESHOLDS = DetectionThresholds()
PIXELS = 640 * 480


def pictures(count: int, start: int = 1) -> list[Picture]:
    """Each of another brightness, which the fake detector turns into a box."""
    return [np.full((480, 640, 3), value, np.uint8) for value in range(start, start + count)]


def found(outcomes: list[Detected | DetectionError]) -> list[tuple[str, float]]:
    """Device and box width per frame."""
    results = []
    for outcome in outcomes:
        assert isinstance(outcome, Detected), outcome
        (box,) = outcome.boxes
        results.append((outcome.device, box.points[1][0]))
    return results


@pytest.fixture
def policy(tmp_path: Path) -> PlacementPolicy:
    return PlacementPolicy(
        tmp_path / "state",
        poll_seconds=0.02,
        drain_seconds=0.0,
        recheck_seconds=0.0,
        wait_seconds=20,
        cooldown_seconds=0.05,
    )


class Bench:
    """One process's pool, its fake loader, and what its sessions said."""

    def __init__(self, nvml: FakeNvml, policy: PlacementPolicy) -> None:
        self.nvml = nvml
        self.policy = policy
        self.loader = FakeLoader(nvml.state)
        self.pool = ReaderPool(self.loader)
        self.said: list[str] = []

    def session(
        self,
        sizing: Sizing | None = None,
        model: ModelSettings = MODEL,
        **policy: object,
    ) -> DetectionSession:
        chosen = dataclasses.replace(self.policy, **policy)  # type: ignore[arg-type]
        return DetectionSession(self.pool, model, sizing or Sizing(), chosen, self.said.append)

    def hog(self, uuid: str, left_bytes: int) -> Allocation:
        """Takes all of a GPU's memory but so much."""
        (gpu,) = (gpu for gpu in take_snapshot().gpus if gpu.uuid == uuid)
        assert gpu.memory is not None
        return allocate(self.nvml.state, uuid, gpu.memory.free_bytes - left_bytes)


@pytest.fixture
def bench(fake_nvml: FakeNvml, policy: PlacementPolicy) -> Iterator[Bench]:
    bench = Bench(fake_nvml, policy)
    yield bench
    bench.pool.close_idle()


def test_frames_are_detected_on_the_gpu_in_batches(bench: Bench) -> None:
    bench.nvml.add_gpu(24 * GIB)
    with bench.session() as session:
        assert found(session.detect(pictures(10), THRESHOLDS)) == [
            ("cuda:0", value) for value in range(1, 11)
        ]
        assert session.tally.frames == {"cuda:0": 10}
        assert session.tally.peak_bytes > 0
    assert session.tally.moves == session.tally.waits == session.tally.out_of_memory == 0


def test_a_second_step_of_the_process_does_not_load_again(bench: Bench) -> None:
    bench.nvml.add_gpu(24 * GIB)
    for _ in range(3):
        with bench.session() as session:
            session.detect(pictures(1), THRESHOLDS)
    assert bench.pool.load_count == 1


def test_nothing_is_loaded_before_there_is_a_frame(bench: Bench) -> None:
    with bench.session() as session:
        assert session.detect([], THRESHOLDS) == []
    assert bench.pool.load_count == 0


def test_threads_share_one_model_that_one_thread_owns(bench: Bench) -> None:
    bench.nvml.add_gpu(24 * GIB)
    results: list[list[tuple[str, float]]] = []

    def work() -> None:
        with bench.session() as session:
            results.append(found(session.detect(pictures(5), THRESHOLDS)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[("cuda:0", value) for value in range(1, 6)]] * 8
    assert bench.pool.load_count == 1
    (detector,) = bench.loader.loaded
    assert isinstance(detector, FakeDetector)
    assert len(detector.threads) == 1


def test_threads_spread_over_the_gpus(bench: Bench) -> None:
    for _ in range(2):
        bench.nvml.add_gpu(24 * GIB)
    with bench.session() as one, bench.session() as two:
        devices = [found(session.detect(pictures(1), THRESHOLDS))[0][0] for session in (one, two)]
    assert sorted(devices) == ["cuda:0", "cuda:1"]


def test_two_configurations_are_two_models(bench: Bench) -> None:
    bench.nvml.add_gpu(24 * GIB)
    for model in (MODEL, ModelSettings(recognize=True)):
        with bench.session(model=model) as session:
            session.detect(pictures(1), THRESHOLDS)
    assert bench.pool.load_count == 2


def test_an_idle_reader_goes_after_a_while(bench: Bench) -> None:
    uuid = bench.nvml.add_gpu(24 * GIB)
    with bench.session(idle_seconds=0.1) as session:
        session.detect(pictures(1), THRESHOLDS)
    assert used_bytes(bench.nvml.state, uuid) > 0
    wait_until(lambda: used_bytes(bench.nvml.state, uuid) == 0)


def test_an_idle_reader_goes_when_another_process_waits_for_memory(bench: Bench) -> None:
    uuid = bench.nvml.add_gpu(24 * GIB)
    with bench.session(idle_seconds=3600) as session:
        session.detect(pictures(1), THRESHOLDS)
    time.sleep(1)
    assert used_bytes(bench.nvml.state, uuid) > 0
    waiter = bench.policy.gpu_ledger(take_snapshot().gpus[0]).waiting(GIB)
    wait_until(lambda: used_bytes(bench.nvml.state, uuid) == 0)
    waiter.close()


def test_an_idle_reader_of_the_same_process_makes_room(bench: Bench) -> None:
    bench.nvml.add_gpu(24 * GIB)
    for model in (MODEL, ModelSettings(recognize=True)):
        with bench.session(model=model, max_readers_per_gpu=1, when_gpu_full="fail") as session:
            assert found(session.detect(pictures(1), THRESHOLDS))[0][0] == "cuda:0"
    assert bench.pool.load_count == 2


def test_work_starts_on_the_cpu_while_the_gpu_is_full_and_returns(bench: Bench) -> None:
    uuid = bench.nvml.add_gpu(24 * GIB)
    hog = bench.hog(uuid, left_bytes=GIB)
    with bench.session() as session:
        first = session.detect(pictures(3), THRESHOLDS)
        hog.free()
        second = session.detect(pictures(3, start=4), THRESHOLDS)
    assert found(first + second) == [
        *(("cpu", value) for value in (1, 2, 3)),
        *(("cuda:0", value) for value in (4, 5, 6)),
    ]
    assert session.tally.moves == 1
    assert session.tally.frames == {"cpu": 3, "cuda:0": 3}
    assert any(text.startswith("moved from the CPU to GPU 0") for text in bench.said)
    (cpu,) = (one for one in bench.loader.loaded if isinstance(one, CpuDetector))
    assert cpu.thread_counts
    assert 1 <= cpu.frames_at_once[0] <= cpu.thread_counts[0]


def test_frames_that_are_under_way_on_the_cpu_survive_the_return_to_a_gpu(bench: Bench) -> None:
    uuid = bench.nvml.add_gpu(24 * GIB)
    bench.loader = FakeLoader(bench.nvml.state, cpu_batch_seconds=1.0)
    bench.pool = ReaderPool(bench.loader)
    hog = bench.hog(uuid, left_bytes=GIB)
    with bench.session(idle_seconds=0.0) as session:
        on_cpu = session.begin(pictures(3), THRESHOLDS)
        hog.free()
        on_gpu = session.begin(pictures(2, start=4), THRESHOLDS)
        # The reader on the CPU is closed by whoever looks after idle ones, while it is at work.
        cpu, _ = bench.loader.loaded
        assert isinstance(cpu, CpuDetector)
        wait_until(lambda: cpu.closed)
        outcomes = [pending.result() for pending in [*on_cpu, *on_gpu]]
    assert found(outcomes) == [("cpu", 1), ("cpu", 2), ("cpu", 3), ("cuda:0", 4), ("cuda:0", 5)]
    bench.pool.close_idle()


def test_return_is_not_looked_for_more_often_than_every_few_seconds(bench: Bench) -> None:
    uuid = bench.nvml.add_gpu(24 * GIB)
    hog = bench.hog(uuid, left_bytes=GIB)
    with bench.session(recheck_seconds=3600) as session:
        session.detect(pictures(1), THRESHOLDS)
        hog.free()
        assert found(session.detect(pictures(2), THRESHOLDS))[0][0] == "cpu"


def test_work_waits_for_the_gpu_if_told_to(bench: Bench) -> None:
    uuid = bench.nvml.add_gpu(24 * GIB)
    hog = bench.hog(uuid, left_bytes=GIB)
    timer = threading.Timer(0.3, hog.free)
    timer.start()
    with bench.session(when_gpu_full="wait") as session:
        assert found(session.detect(pictures(2), THRESHOLDS))[0][0] == "cuda:0"
    assert session.tally.waits == 1
    assert session.tally.wait_seconds >= 0.2
    assert bench.said[0].startswith("waiting for room (0 of 20 s): GPU 0: ")
    timer.join()


def test_waiting_has_an_end(bench: Bench) -> None:
    bench.hog(bench.nvml.add_gpu(24 * GIB), left_bytes=GIB)
    with (
        bench.session(when_gpu_full="wait", wait_seconds=0.1) as session,
        pytest.raises(NoRoomError, match=r"no room for a reader within .* s \(wait_seconds\): GPU"),
    ):
        session.detect(pictures(1), THRESHOLDS)


def test_a_full_gpu_is_an_error_if_told_so(bench: Bench) -> None:
    bench.hog(bench.nvml.add_gpu(24 * GIB), left_bytes=GIB)
    with (
        bench.session(when_gpu_full="fail") as session,
        pytest.raises(NoRoomError, match="no GPU has room, and when_gpu_full is `fail`: GPU 0"),
    ):
        session.detect(pictures(1), THRESHOLDS)


def test_what_can_never_fit_is_not_waited_for(bench: Bench) -> None:
    bench.nvml.add_gpu(GIB // 2)
    with (
        bench.session(device="cuda", when_gpu_full="wait") as session,
        pytest.raises(NoRoomError, match="a reader fits nowhere: GPU 0"),
    ):
        session.detect(pictures(1), THRESHOLDS)


def test_a_gpu_that_is_not_there_fails_at_once(bench: Bench) -> None:
    with pytest.raises(DeviceError, match="device is `cuda`, but there is no GPU to use"):
        bench.session(device="cuda", when_gpu_full="wait")


def test_without_a_gpu_the_cpu_is_used_whatever_is_to_be_done_when_it_is_full(bench: Bench) -> None:
    with bench.session(when_gpu_full="fail") as session:
        assert found(session.detect(pictures(1), THRESHOLDS)) == [("cpu", 1)]


def test_a_second_process_waits_for_the_cpu(bench: Bench, fake_nvml: FakeNvml) -> None:
    other = Bench(fake_nvml, dataclasses.replace(bench.policy, cores_per_cpu_reader=10_000))
    bench.policy = other.policy
    with bench.session() as session:
        session.detect(pictures(1), THRESHOLDS)
        with other.session(wait_seconds=0.1) as late, pytest.raises(NoRoomError, match="the CPU"):
            late.detect(pictures(1), THRESHOLDS)
    with other.session() as late:  # the idle reader makes room
        assert found(late.detect(pictures(1), THRESHOLDS)) == [("cpu", 1)]
    other.pool.close_idle()


def test_out_of_memory_halves_the_batch_and_loses_no_frame(bench: Bench) -> None:
    uuid = bench.nvml.add_gpu(24 * GIB)
    bench.loader.appetite = Appetite(load_bytes=GIB, pixel_bytes=GIB // PIXELS)
    with bench.session(Sizing(max_batch_frames=8, fixed_bytes=20 * GIB)) as session:
        session.detect(pictures(1), THRESHOLDS)
        # Somebody takes, without a lease, what was promised: four frames fit, eight do not.
        hog = bench.hog(uuid, left_bytes=7 * GIB // 2)
        assert found(session.detect(pictures(16), THRESHOLDS)) == [
            ("cuda:0", value) for value in range(1, 17)
        ]
        assert (session.tally.out_of_memory, session.tally.halvings) == (1, 1)
        # What failed is not tried again, even when there would be room.
        hog.free()
        session.detect(pictures(16), THRESHOLDS)
        assert session.tally.out_of_memory == 1


def test_out_of_memory_with_one_frame_moves_to_another_gpu(bench: Bench) -> None:
    first, second = (bench.nvml.add_gpu(total) for total in (24 * GIB, 23 * GIB))
    bench.loader.appetite = Appetite(load_bytes=GIB, pixel_bytes=2 * GIB // PIXELS)
    with bench.session(Sizing(fixed_bytes=5 * GIB)) as session:
        session.detect(pictures(1), THRESHOLDS)
        (detector,) = bench.loader.loaded
        detector.empty_cache()
        with bench.hog(first, left_bytes=GIB):
            outcomes = session.detect(pictures(3), THRESHOLDS)
    assert found(outcomes) == [("cuda:1", value) for value in (1, 2, 3)]
    assert session.tally.moves == 1
    assert used_bytes(bench.nvml.state, first) == 0
    assert used_bytes(bench.nvml.state, second) > 0
    assert any("is not used for" in text for text in bench.said)


def test_out_of_memory_with_one_frame_moves_to_the_cpu_and_back(bench: Bench) -> None:
    uuid = bench.nvml.add_gpu(24 * GIB)
    bench.loader.appetite = Appetite(load_bytes=GIB, pixel_bytes=2 * GIB // PIXELS)
    with bench.session(Sizing(fixed_bytes=5 * GIB)) as session:
        session.detect(pictures(1), THRESHOLDS)
        (detector,) = bench.loader.loaded
        detector.empty_cache()
        with bench.hog(uuid, left_bytes=GIB):
            assert found(session.detect(pictures(2), THRESHOLDS)) == [("cpu", 1), ("cpu", 2)]
        time.sleep(0.1)  # the GPU is left alone for a while
        assert found(session.detect(pictures(1), THRESHOLDS)) == [("cuda:0", 1)]
    assert session.tally.moves == 2


def test_out_of_memory_at_load_moves_on(bench: Bench) -> None:
    bench.nvml.add_gpu(24 * GIB)
    bench.loader.appetite = Appetite(load_bytes=25 * GIB)
    with bench.session() as session:
        assert found(session.detect(pictures(1), THRESHOLDS)) == [("cpu", 1)]
    assert any("is not used for" in text and "out of memory" in text for text in bench.said)


def test_a_frame_that_no_gpu_can_take_is_an_error_of_its_own_when_the_cpu_is_ruled_out(
    bench: Bench,
) -> None:
    bench.nvml.add_gpu(24 * GIB)
    bench.loader.appetite = Appetite(load_bytes=GIB, pixel_bytes=3 * GIB // PIXELS)
    small = [np.ones((240, 320, 3), np.uint8)]
    with bench.session(Sizing(fixed_bytes=3 * GIB), device="cuda", when_gpu_full="wait") as session:
        (outcome,) = session.detect(pictures(1), THRESHOLDS)
        assert isinstance(outcome, DetectionError)
        assert "not enough memory for 640x480 pixels" in str(outcome)
        assert found(session.detect(small, THRESHOLDS)) == [("cuda:0", 1)]


def test_the_lease_is_fitted_to_what_the_first_batch_took(bench: Bench) -> None:
    bench.nvml.add_gpu(24 * GIB)
    bench.loader.appetite = Appetite(load_bytes=int(0.45 * GIB), pixel_bytes=500)
    ledger = bench.policy.gpu_ledger(take_snapshot().gpus[0])
    with bench.session(Sizing(max_batch_frames=16)) as session:
        session.detect(pictures(4), THRESHOLDS)
        (lease,) = ledger.state().leases
        estimated = session.tally.lease_bytes
        taken = bench.loader.loaded[0].memory().reserved_bytes
        assert lease.size_bytes < estimated
        # What 16 frames need by the measurement, which is more than what 4 took.
        assert lease.size_bytes > taken + 12 * PIXELS * 500
        assert lease.allocated_bytes <= used_bytes(bench.nvml.state, ledger.device)
        assert found(session.detect(pictures(16), THRESHOLDS))
        assert session.tally.out_of_memory == 0


def test_a_lease_that_turns_out_too_small_grows_if_there_is_room(bench: Bench) -> None:
    bench.nvml.add_gpu(24 * GIB)
    bench.loader.appetite = Appetite(load_bytes=GIB, pixel_bytes=6000)
    with bench.session(Sizing(max_batch_frames=4)) as session:
        outcomes = session.detect(pictures(4), THRESHOLDS)
        assert found(outcomes) == [("cuda:0", value) for value in (1, 2, 3, 4)]
        assert session.tally.out_of_memory >= 1
        assert session.tally.halvings == 0


def test_a_larger_frame_gets_a_larger_lease(bench: Bench) -> None:
    bench.nvml.add_gpu(24 * GIB)
    large = [np.ones((2000, 2500, 3), np.uint8)]
    with bench.session(Sizing(max_batch_frames=1)) as session:
        session.detect(pictures(1), THRESHOLDS)
        before = session.tally.lease_bytes
        assert found(session.detect(large, THRESHOLDS)) == [("cuda:0", 1)]
        assert session.tally.lease_bytes > 2 * before
        assert session.tally.out_of_memory == 0


def test_a_frame_too_large_for_the_gpu_that_is_left_goes_to_the_cpu(bench: Bench) -> None:
    uuid = bench.nvml.add_gpu(24 * GIB)
    large = [np.ones((2500, 2500, 3), np.uint8)]
    with bench.session(Sizing(max_batch_frames=1)) as session:
        session.detect(pictures(1), THRESHOLDS)
        with bench.hog(uuid, left_bytes=GIB):
            assert found(session.detect(large, THRESHOLDS)) == [("cpu", 1)]
    assert session.tally.out_of_memory == 0


class Broken(FakeDetector):
    """Meets a CUDA error that is not about memory."""

    def detect_batch(self, pictures: object, thresholds: object) -> list[list[TextBox]]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with")


def test_any_other_cuda_error_ends_the_work_of_the_process(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    uuid = bench.nvml.add_gpu(24 * GIB)
    ledger = bench.policy.gpu_ledger(take_snapshot().gpus[0])

    def load(settings: ModelSettings, device: str, uuid: str) -> Detector:
        return Broken(bench.nvml.state, uuid, Appetite(), lambda picture: [])

    bench.pool = ReaderPool(load)
    for _ in range(2):
        with (
            bench.session() as session,
            pytest.raises(DeviceFaultError, match=r"illegal memory access .*run the step again"),
        ):
            session.detect(pictures(1), THRESHOLDS)
    assert bench.pool.load_count == 1
    # The memory is the process's until it ends, and so is the lease.
    assert used_bytes(bench.nvml.state, uuid) > 0
    assert len(ledger.state().leases) == 1


def test_a_pytorch_without_cuda_means_the_cpu(bench: Bench) -> None:
    bench.nvml.add_gpu(24 * GIB)

    def load(settings: ModelSettings, device: str, uuid: str) -> Detector:
        if device != "cpu":
            raise DeviceError("PyTorch 2.14.1 is built without CUDA")
        return CpuDetector(lambda picture: [])

    bench.pool = ReaderPool(load)
    for when_full in ("cpu", "fail"):
        with bench.session(when_gpu_full=when_full) as session:
            assert session.detect(pictures(2), THRESHOLDS)
            assert session.tally.frames == {"cpu": 2}
    with (
        bench.session(device="cuda", when_gpu_full="wait") as session,
        pytest.raises(NoRoomError, match=r"a reader fits nowhere: GPU 0: .*built without CUDA"),
    ):
        session.detect(pictures(1), THRESHOLDS)


def test_an_error_that_is_not_about_the_device_is_passed_on(bench: Bench) -> None:
    def load(settings: ModelSettings, device: str, uuid: str) -> Detector:
        raise ValueError("({'xx'}, 'is not supported')")

    bench.pool = ReaderPool(load)
    with bench.session() as session, pytest.raises(ValueError, match="is not supported"):
        session.detect(pictures(1), THRESHOLDS)
    assert bench.policy.cpu_ledger.state().leases == ()


def test_a_gpu_that_falls_off_the_bus_leaves_the_cpu(bench: Bench) -> None:
    uuid = bench.nvml.add_gpu(24 * GIB)
    with bench.session() as session:
        session.detect(pictures(1), THRESHOLDS)
    bench.pool.close_idle()
    bench.nvml.remove_gpu(uuid)
    with bench.session() as session:
        assert found(session.detect(pictures(1), THRESHOLDS)) == [("cpu", 1)]


def test_without_a_gpu_a_second_step_does_not_load_again_either(bench: Bench) -> None:
    for _ in range(3):
        with bench.session() as session:
            session.detect(pictures(1), THRESHOLDS)
    assert bench.pool.load_count == 1


def test_one_bad_picture_does_not_spoil_its_batch(bench: Bench) -> None:
    bench.nvml.add_gpu(24 * GIB)

    def find(picture: Picture) -> list[TextBox]:
        if picture[0, 0, 0] == 4:
            raise DetectionError("this one")
        return made_up_text(picture)

    bench.pool = ReaderPool(FakeLoader(bench.nvml.state, find=find))
    with bench.session() as session:
        outcomes = session.detect(pictures(6), THRESHOLDS)
    assert isinstance(outcomes.pop(3), DetectionError)
    assert found(outcomes) == [("cuda:0", value) for value in (1, 2, 3, 5, 6)]
    bench.pool.close_idle()


def test_three_gpus_without_memory_leave_the_cpu(bench: Bench) -> None:
    for _ in range(3):
        bench.nvml.add_gpu(24 * GIB)
    bench.loader.appetite = Appetite(pixel_bytes=30 * GIB // PIXELS)
    with bench.session(Sizing(fixed_bytes=5 * GIB), cooldown_seconds=60) as session:
        assert found(session.detect(pictures(2), THRESHOLDS)) == [("cpu", 1), ("cpu", 2)]
    assert session.tally.out_of_memory == 6  # on each with two frames, then with one


def test_leaving_a_shared_reader_takes_nothing_from_those_who_stay(bench: Bench) -> None:
    uuid = bench.nvml.add_gpu(24 * GIB)
    with bench.session() as stays:
        stays.detect(pictures(1), THRESHOLDS)
        (detector,) = bench.loader.loaded
        assert isinstance(detector, FakeDetector)
        leaves = bench.session()
        leaves.detect(pictures(1), THRESHOLDS)
        reader = leaves._reader
        assert reader is not None
        leaves._leave(reader, "for another")
        assert found(stays.detect(pictures(4), THRESHOLDS))
        assert detector.caps_bytes[uuid] > GIB // 2
        assert stays.tally.out_of_memory == 0
        (lease,) = bench.policy.gpu_ledger(take_snapshot().gpus[0]).state().leases
        assert lease.allocated_bytes <= used_bytes(bench.nvml.state, uuid)
    assert used_bytes(bench.nvml.state, uuid) == 0


def test_two_models_of_a_process_share_its_allocator_by_their_leases(bench: Bench) -> None:
    uuid = bench.nvml.add_gpu(24 * GIB)
    ledger = bench.policy.gpu_ledger(take_snapshot().gpus[0])
    with bench.session() as one, bench.session(model=ModelSettings(recognize=True)) as two:
        one.detect(pictures(4), THRESHOLDS)
        two.detect(pictures(4), THRESHOLDS)
        state = ledger.state()
        allocated = sum(lease.allocated_bytes for lease in state.leases)
        assert GIB // 2 < allocated <= used_bytes(bench.nvml.state, uuid)
        cap = FakeDetector.caps_bytes[uuid]
        assert cap == pytest.approx(state.leased_bytes - CONTEXT_BYTES, rel=0.01)
    bench.pool.close_idle()


def test_a_frame_that_was_detected_does_not_turn_out_to_fit_nowhere(bench: Bench) -> None:
    bench.nvml.add_gpu(6 * GIB)
    # Nearly all that may be leased of 6 GiB, found out by running out of memory.
    bench.loader.appetite = Appetite(pixel_bytes=int(4.1 * GIB) // PIXELS)
    with bench.session(device="cuda", when_gpu_full="wait", wait_seconds=1) as session:
        for _ in range(2):
            assert found(session.detect(pictures(2), THRESHOLDS))[0] == ("cuda:0", 1)
    bench.pool.close_idle()
    with bench.session(device="cuda", when_gpu_full="wait", wait_seconds=1) as session:
        assert found(session.detect(pictures(2), THRESHOLDS))


def test_an_unusable_gpu_is_not_waited_for(bench: Bench) -> None:
    bench.nvml.add_gpu(24 * GIB)
    ledger = bench.policy.gpu_ledger(take_snapshot().gpus[0])

    def load(settings: ModelSettings, device: str, uuid: str) -> Detector:
        if device != "cpu":
            raise DeviceError("too old")
        return CpuDetector(made_up_text)

    bench.pool = ReaderPool(load)
    with bench.session() as session:
        session.detect(pictures(1), THRESHOLDS)
        assert ledger.state().waiting_bytes == ()
    bench.nvml.add_gpu(GIB // 2)
    with (
        bench.session(device="cuda", when_gpu_full="wait") as session,
        pytest.raises(NoRoomError, match="a reader fits nowhere"),
    ):
        session.detect(pictures(1), THRESHOLDS)
    bench.pool.close_idle()


def test_a_forked_child_loads_a_model_of_its_own(tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from ocr_assets.gpu.placement import PlacementPolicy\n"
        "from ocr_assets.ocr.detector import ModelSettings\n"
        "from ocr_assets.ocr.thresholds import DetectionThresholds\n"
        "from ocr_assets.ocr.reader import Sizing\n"
        "from ocr_assets.ocr.reader_pool import ReaderPool\n"
        "from ocr_assets.ocr.session import DetectionSession\n"
        "from tests.gpu.fake_detector import FakeLoader\n"
        "pool = ReaderPool(FakeLoader(Path('unused')))\n"
        "def work(state):\n"
        "    policy = PlacementPolicy(Path(sys.argv[1]) / state, device='cpu')\n"
        "    session = DetectionSession(pool, ModelSettings(), Sizing(), policy, print)\n"
        "    with session:\n"
        "        session.detect([np.zeros((8, 8, 3), np.uint8)], DetectionThresholds())\n"
        "work('parent')\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    work('child')\n"
        "    os._exit(pool.load_count)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.stdout.splitlines()[-1] == "2", result.stderr


def test_a_reader_that_cannot_be_closed_does_not_stop_the_others_from_going(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    uuid = bench.nvml.add_gpu(24 * GIB)
    with bench.session(idle_seconds=0.1) as session:
        session.detect(pictures(1), THRESHOLDS)
    (stubborn,) = bench.loader.loaded
    assert isinstance(stubborn, FakeDetector)
    stubborn.close = stubborn.use_threads  # type: ignore[assignment,method-assign]
    wait_until(lambda: "could not be closed" in caplog.text)
    before = used_bytes(bench.nvml.state, uuid)
    with bench.session(idle_seconds=0.1) as session:
        session.detect(pictures(1), THRESHOLDS)
    wait_until(lambda: used_bytes(bench.nvml.state, uuid) == before)


def test_an_idle_model_is_not_closed_where_its_room_would_not_help(bench: Bench) -> None:
    bench.nvml.add_gpu(24 * GIB)
    with bench.session(model=ModelSettings(recognize=True)) as other:
        other.detect(pictures(1), THRESHOLDS)
    with bench.session() as one, bench.session() as two:
        one.detect(pictures(1), THRESHOLDS)
        two.detect(pictures(1), THRESHOLDS)
    with bench.session(model=ModelSettings(recognize=True)) as other:
        other.detect(pictures(1), THRESHOLDS)
    assert bench.pool.load_count == 2


def test_a_cuda_that_another_step_broke_does_not_stop_work_on_the_cpu(bench: Bench) -> None:
    uuid = bench.nvml.add_gpu(24 * GIB)
    hog = bench.hog(uuid, left_bytes=GIB)
    with bench.session() as session, bench.session(model=ModelSettings(recognize=True)) as other:
        session.detect(pictures(1), THRESHOLDS)
        hog.free()
        other.detect(pictures(1), THRESHOLDS)
        assert other._reader is not None
        bench.pool.give_up_cuda(other._reader, DeviceFaultError("broken"))
        assert found(session.detect(pictures(2), THRESHOLDS)) == [("cpu", 1), ("cpu", 2)]


def wait_until(condition: object, seconds: float = 10.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
