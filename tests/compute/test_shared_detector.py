"""One detector, asked by hand."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ocr_assets.compute.boxes_work import BoxesUnit, BoxesWork
from ocr_assets.compute.on_ray.detector import Detector, DetectorState
from ocr_assets.compute.on_ray.dispatch import WorkerRetiredError, answer_of
from ocr_assets.compute.on_ray.nodes import DetectorSpec
from ocr_assets.gpu.placement import NoRoomError
from tests.compute.cluster_runs import boxes_of_day, connect, easyocr, hogged, wait_until
from tests.compute.ray_nodes import RayNode, RayNodes

Begin = Callable[..., Any]


@pytest.fixture
def begin(nodes: RayNodes) -> Iterator[Begin]:
    """Starts a detector on a node."""
    connect(nodes)
    detectors = []

    def begin(node: RayNode, *, on_gpu: bool = False, **fields: Any) -> Any:
        spec = DetectorSpec.of(easyocr(**fields).detector_settings())
        strategy = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        actor = ray.remote(Detector).options(
            num_cpus=0, max_concurrency=32, scheduling_strategy=strategy
        )
        detectors.append(actor.remote(spec, on_gpu=on_gpu))
        return detectors[-1]

    yield begin
    for detector in detectors:
        ray.kill(detector)
    for node in nodes.nodes:
        node.forget()
    ray.shutdown()


def test_units_of_a_step_that_is_gone_are_not_begun(
    sampled: Path, nodes: RayNodes, begin: Begin
) -> None:
    work, units = boxes_of_day(sampled)
    detector = begin(nodes.nodes[0])
    of_a = keep_busy(detector, nodes.nodes[0], work, units[:-1])
    of_b = detector.detect.remote("b", work, units[-1])
    ray.get(detector.forget.remote("a"))
    assert answer_of(of_b).result.unit == len(units) - 1
    handed_back = [reason for reference in of_a if (reason := refusal(reference))]
    assert {*handed_back} == {"its step is gone"}
    state: DetectorState = ray.get(detector.state.remote())
    assert state.under_way == 0
    assert 0 < state.done - 1 == len(of_a) - len(handed_back)


def test_a_unit_that_may_be_the_end_has_a_detector_to_itself(
    sampled: Path, nodes: RayNodes, begin: Begin
) -> None:
    work, units = boxes_of_day(sampled)
    detector = begin(nodes.nodes[0])
    before = keep_busy(detector, nodes.nodes[0], work, units[:7])
    alone = detector.detect.remote("b", work, units[7], alone=True)
    wait_until(lambda: heard_of(detector) < len(before))
    assert refusal(detector.detect.remote("a", work, units[8])) == (
        "the detector has a unit that may be its end"
    )
    assert answer_of(alone).result.unit == 7
    finished = [reference for reference in before if refusal(reference) is None]
    assert 0 < len(finished) < len(before)  # what was begun is finished
    assert answer_of(detector.detect.remote("a", work, units[8])).result.unit == 8


def keep_busy(
    detector: Any, node: RayNode, work: BoxesWork, units: Sequence[BoxesUnit]
) -> list[Any]:
    """Gives it units that take long, of the step `a`; returns when it has them and has begun."""
    node.slow(0.3)
    references = [detector.detect.remote("a", work, unit) for unit in units]
    wait_until(lambda: "frame" in node.lines() and heard_of(detector) == len(units))
    return references


def heard_of(detector: Any) -> int:
    """How many units it has or has done."""
    state: DetectorState = ray.get(detector.state.remote())
    return state.under_way + state.done


def refusal(reference: Any) -> str | None:
    """Why a unit was handed back; None if it was done."""
    try:
        answer_of(reference)
    except WorkerRetiredError as error:
        return str(error)
    return None


def test_a_detector_without_room_says_so_and_has_its_units_done_elsewhere(
    sampled: Path, nodes: RayNodes, begin: Begin
) -> None:
    work, units = boxes_of_day(sampled)
    with hogged(nodes):
        detector = begin(nodes.nodes[1], on_gpu=True, device="cuda", wait_seconds=1)
        for reference in [detector.detect.remote("a", work, unit) for unit in units[:3]]:
            with pytest.raises(WorkerRetiredError, match="no room for a reader within"):
                answer_of(reference)
    fault = ray.get(detector.state.remote()).fault
    assert isinstance(fault, NoRoomError)
    assert not fault.never
