"""Where readers go: GPUs by what can be had on them, else as the operator chose."""

import dataclasses

import pytest

from ocr_assets.gpu import host
from ocr_assets.gpu.admission import Limits
from ocr_assets.gpu.placement import (
    NoRoomError,
    PlacementPolicy,
    place_on_cpu,
    place_on_gpu,
    threads_per_cpu_reader,
    waiting_for_room,
)
from ocr_assets.gpu.slots import make_plan
from ocr_assets.gpu.snapshot import take_snapshot
from tests.fake_nvml import GIB, FakeNvml, allocate

SIZE = [2 * GIB]


def unlimited(policy: PlacementPolicy) -> PlacementPolicy:
    return dataclasses.replace(policy, max_readers_per_gpu=None)


def fill(policy: PlacementPolicy, sizes: list[int] = SIZE) -> list[str]:
    """Takes leases until there is no room; returns the devices."""
    devices = []
    try:
        while True:
            devices.append(place_on_gpu(policy, sizes).torch_device)
    except NoRoomError:
        return devices


# The four cases that Data-Juicer's operator gets wrong: with 0.5 GiB free it puts a worker on the
# GPU all the same; of 23 + 1 GiB free it makes 11 workers and puts 6 on the card with 1; of one
# visible card of eight it counts all eight; and without nvidia-smi it fails with a TypeError.


def test_a_reader_that_does_not_fit_is_not_put_on_the_gpu(
    fake_nvml: FakeNvml, policy: PlacementPolicy
) -> None:
    fake_nvml.add_gpu(24 * GIB, used_bytes=24 * GIB - GIB // 2)
    with pytest.raises(NoRoomError, match=r"GPU 0: 2.0 GiB needed, 0.0 GiB to be had") as refused:
        place_on_gpu(policy, SIZE)
    assert not refused.value.never
    plan = make_plan(policy, SIZE, GIB)
    assert [slots.now for slots in plan.gpus] == [0]
    assert plan.cpu is not None
    assert plan.slots_now == plan.cpu.now >= 1


def test_no_reader_goes_where_too_little_is_free(
    fake_nvml: FakeNvml, policy: PlacementPolicy
) -> None:
    fake_nvml.add_gpu(24 * GIB, used_bytes=23 * GIB)
    fake_nvml.add_gpu(24 * GIB, used_bytes=1 * GIB)
    plan = make_plan(unlimited(policy), SIZE, GIB)
    assert [slots.now for slots in plan.gpus] == [0, 10]
    assert fill(unlimited(policy)) == ["cuda:1"] * 10


@pytest.mark.parametrize("by_uuid", [False, True])
def test_one_visible_gpu_of_eight_counts_as_one(
    fake_nvml: FakeNvml,
    policy: PlacementPolicy,
    monkeypatch: pytest.MonkeyPatch,
    by_uuid: bool,
) -> None:
    uuids = [fake_nvml.add_gpu(24 * GIB) for _ in range(8)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", uuids[5] if by_uuid else "5")
    plan = make_plan(unlimited(policy), SIZE, GIB)
    assert [(slots.label, slots.now) for slots in plan.gpus] == [("GPU 5", 10)]
    placed = place_on_gpu(policy, SIZE)
    assert (placed.device_id, placed.torch_device) == (uuids[5], "cuda:0")


def test_without_nvml_there_is_the_cpu_and_a_reason(
    fake_nvml: FakeNvml, policy: PlacementPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FAKE_NVML_STATE")
    with pytest.raises(NoRoomError, match="no NVIDIA driver on this machine") as refused:
        place_on_gpu(policy, SIZE)
    assert not refused.value.never  # it may answer later
    plan = make_plan(policy, SIZE, GIB)
    assert plan.gpus == ()
    assert plan.cpu is not None
    assert plan.slots_now >= 1
    assert plan.sentence().endswith("on the CPU")


def test_the_gpu_with_the_most_to_be_had_comes_first(
    fake_nvml: FakeNvml, policy: PlacementPolicy
) -> None:
    fake_nvml.add_gpu(8 * GIB)
    large = fake_nvml.add_gpu(24 * GIB)
    placed = [place_on_gpu(policy, SIZE) for _ in range(4)]
    assert [one.torch_device for one in placed] == ["cuda:1", "cuda:1", "cuda:0", "cuda:0"]
    assert placed[0].device_id == large
    with pytest.raises(NoRoomError, match="all 2 readers allowed there taken"):
        place_on_gpu(policy, SIZE)
    placed[1].lease.release()
    assert place_on_gpu(policy, SIZE).torch_device == "cuda:1"


def test_unequal_gpus_are_filled_as_planned(fake_nvml: FakeNvml, policy: PlacementPolicy) -> None:
    for gib in (24, 8):
        fake_nvml.add_gpu(gib * GIB)
    plan = make_plan(unlimited(policy), SIZE, GIB)
    assert [slots.now for slots in plan.gpus] == [10, 3]
    assert sorted(fill(unlimited(policy))) == ["cuda:0"] * 10 + ["cuda:1"] * 3
    assert [slots.held for slots in make_plan(unlimited(policy), SIZE, GIB).gpus] == [10, 3]


def test_a_mig_instance_is_filled_by_its_own_memory(
    fake_nvml: FakeNvml, policy: PlacementPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = fake_nvml.add_gpu(80 * GIB)
    fake_nvml.add_mig(parent, 10 * GIB)
    chosen = fake_nvml.add_mig(parent, 20 * GIB, used_bytes=8 * GIB)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert place_on_gpu(unlimited(policy), SIZE).device_id == chosen
    assert fill(unlimited(policy)) == ["cuda:0"] * 4


def test_a_smaller_batch_is_taken_where_the_wanted_one_does_not_fit(
    fake_nvml: FakeNvml, policy: PlacementPolicy
) -> None:
    fake_nvml.add_gpu(8 * GIB)
    sizes = [5 * GIB, 3 * GIB, 2 * GIB]
    assert place_on_gpu(policy, sizes).lease.size_bytes == 5 * GIB
    assert place_on_gpu(policy, sizes).lease.size_bytes == 2 * GIB


def test_what_can_never_fit_is_told_apart(fake_nvml: FakeNvml, policy: PlacementPolicy) -> None:
    fake_nvml.add_gpu(8 * GIB)
    with pytest.raises(NoRoomError, match=r"9.0 GiB needed, but of 8.0 GiB at most 7.2") as never:
        place_on_gpu(policy, [9 * GIB])
    assert never.value.never
    greedy = dataclasses.replace(policy, headroom_bytes=90 * GIB)
    with pytest.raises(NoRoomError, match=r"headroom of 90.0 GiB exceeds .* lower headroom_bytes"):
        place_on_gpu(greedy, SIZE)


def test_an_excluded_gpu_is_passed_over_with_its_reason(
    fake_nvml: FakeNvml, policy: PlacementPolicy
) -> None:
    uuid = fake_nvml.add_gpu(8 * GIB)
    with pytest.raises(NoRoomError, match="GPU 0: it is tired") as refused:
        place_on_gpu(policy, SIZE, excluded={uuid: "it is tired"})
    assert not refused.value.never


def test_a_lost_gpu_is_a_reason_and_the_next_is_taken(
    fake_nvml: FakeNvml, policy: PlacementPolicy
) -> None:
    import pynvml

    lost = fake_nvml.add_gpu(24 * GIB)
    fake_nvml.add_gpu(8 * GIB)
    fake_nvml.set_fault(lost, memory=pynvml.NVML_ERROR_GPU_IS_LOST)
    assert place_on_gpu(policy, SIZE).torch_device == "cuda:1"


def test_cpu_readers_are_bounded_by_cores_and_share_them(policy: PlacementPolicy) -> None:
    cores = host.usable_cores()
    one_core_each = dataclasses.replace(policy, cores_per_cpu_reader=1)
    ledger = one_core_each.cpu_ledger
    placed = []
    for held in range(1, cores + 1):
        placed.append(place_on_cpu(one_core_each, 1024))
        assert threads_per_cpu_reader(ledger) == cores // held
    with pytest.raises(NoRoomError, match=r"the CPU: .*allowed there taken"):
        place_on_cpu(one_core_each, 1024)
    placed[0].lease.release()
    assert place_on_cpu(one_core_each, 1024).torch_device == "cpu"


def test_cpu_readers_are_bounded_by_memory_but_one_always_works(policy: PlacementPolicy) -> None:
    many = dataclasses.replace(policy, cores_per_cpu_reader=1)
    huge = 2 * host.total_memory_bytes()
    first = place_on_cpu(many, huge)
    with pytest.raises(NoRoomError) as refused:
        place_on_cpu(many, huge)
    assert not refused.value.never
    plan = make_plan(dataclasses.replace(many, device="cpu"), SIZE, huge)
    assert plan.cpu is not None
    assert (plan.cpu.now, plan.cpu.at_best) == (1, 1)
    first.lease.release()
    assert place_on_cpu(many, huge).lease.size_bytes == huge


def test_contradicting_wishes_are_refused(policy: PlacementPolicy) -> None:
    with pytest.raises(ValueError, match="rules the CPU out"):
        dataclasses.replace(policy, device="cuda", when_gpu_full="cpu")


def test_others_see_that_a_process_waits_and_when_it_no_longer_does(
    fake_nvml: FakeNvml, policy: PlacementPolicy
) -> None:
    fake_nvml.add_gpu(8 * GIB)
    ledger = policy.gpu_ledger(take_snapshot().gpus[0])
    with waiting_for_room(policy, 3 * GIB, cpu=True):
        assert ledger.state().waiting_bytes == (3 * GIB,)
        assert policy.cpu_ledger.state().waiting_bytes == (3 * GIB,)
    assert ledger.state().waiting_bytes == policy.cpu_ledger.state().waiting_bytes == ()


def test_the_plan_says_what_and_why(fake_nvml: FakeNvml, policy: PlacementPolicy) -> None:
    uuid = fake_nvml.add_gpu(24 * GIB, name="NVIDIA L4")
    with allocate(fake_nvml.state, uuid, 5 * GIB):
        plan = make_plan(policy, SIZE, GIB)
    (slots,) = plan.gpus
    assert (slots.held, slots.now, slots.at_best) == (0, 2, 2)
    assert plan.sentence().startswith(
        "2 readers on GPU 0 (24.0 GiB, 19.0 GiB free), 2.0 GiB each; "
    )
    assert "at most 2 readers (max_readers_per_gpu)" in slots.reason
    many = make_plan(unlimited(policy), SIZE, GIB)
    assert [(one.now, one.at_best) for one in many.gpus] == [(10, 10)]


def test_a_plan_that_rules_a_device_out_does_not_count_it(
    fake_nvml: FakeNvml, policy: PlacementPolicy
) -> None:
    fake_nvml.add_gpu(24 * GIB)
    waiting = dataclasses.replace(policy, when_gpu_full="wait")
    assert make_plan(waiting, SIZE, GIB).cpu is None
    assert make_plan(waiting, SIZE, GIB).slots_now == 2
    cpu = make_plan(dataclasses.replace(policy, device="cpu"), SIZE, GIB)
    assert cpu.gpus == ()
    assert cpu.cpu is not None


def test_limits_are_those_of_the_policy(policy: PlacementPolicy) -> None:
    assert policy.gpu_limits == Limits(0.9, 512 * 1024**2, 2)
    greedy = dataclasses.replace(policy, headroom_bytes=10**15, max_fraction=0.1)
    assert greedy.cpu_limits == policy.cpu_limits
    assert policy.cpu_limits.always_one


def test_a_gpu_that_cannot_be_read_now_may_have_room_later(
    fake_nvml: FakeNvml, policy: PlacementPolicy
) -> None:
    import pynvml

    fake_nvml.add_gpu(GIB)
    large = fake_nvml.add_gpu(80 * GIB)
    fake_nvml.set_fault(large, memory=pynvml.NVML_ERROR_UNKNOWN)
    with pytest.raises(NoRoomError) as refused:
        place_on_gpu(policy, SIZE)
    assert not refused.value.never


def test_what_drains_counts_as_free_soon_but_not_now(
    fake_nvml: FakeNvml, policy: PlacementPolicy
) -> None:
    fake_nvml.add_gpu(8 * GIB)
    slow = dataclasses.replace(unlimited(policy), drain_seconds=60.0)
    kept, given_back = (place_on_gpu(slow, SIZE).lease for _ in range(2))
    given_back.release()
    plan = make_plan(slow, SIZE, GIB)
    (slots,) = plan.gpus
    assert (slots.held, slots.now, slots.soon) == (1, 2, 3)
    assert plan.cpu is not None
    assert plan.cpu.soon == plan.cpu.now
    assert plan.slots_soon == plan.slots_now + 1
    kept.release()
