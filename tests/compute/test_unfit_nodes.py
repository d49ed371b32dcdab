"""Nodes that cannot hold a detector, or not now."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from ocr_assets.compute.boxes_work import FinishedBoxes
from ocr_assets.compute.observer import Observer
from ocr_assets.compute.on_ray import shared_detectors
from ocr_assets.gpu.placement import NoRoomError
from ocr_assets.gpu.state_directory import StateError
from ocr_assets.ocr.weights import WeightsError
from tests.compute.cluster_runs import (
    SOME,
    Start,
    boxes_of_day,
    compute,
    connect,
    easyocr,
    hogged,
    sampled_on,
    taken_cores,
    wait_until,
    watched,
)
from tests.compute.ray_nodes import RayNode, RayNodes
from tests.gpu.fake_detector import GIB

pytestmark = pytest.mark.usefixtures("no_detectors_are_left")


@pytest.mark.parametrize("why", ["weights", "state folder"])
def test_what_an_unfit_node_was_given_is_done_on_another_and_does_not_count_as_a_try(
    sampled: Path, nodes: RayNodes, start: Start, why: str
) -> None:
    nodes.nodes[1].unfit(why)
    for node in nodes.nodes:
        node.slow(0.05)
    result = start(sampled, compute={"max_tries": 1}).result()
    assert (result["frames"], result["failed"], [*result["devices"]]) == (3 * SOME, 0, ["cpu"])
    assert "frame" not in nodes.nodes[1].lines()


@pytest.mark.parametrize(
    ("why", "error", "message"),
    [
        ("weights", WeightsError, "there are no weights here"),
        ("state folder", StateError, "is open to other users"),
    ],
)
def test_a_step_for_which_no_node_is_fit_fails_with_the_reason(
    sampled: Path,
    nodes: RayNodes,
    monkeypatch: pytest.MonkeyPatch,
    why: str,
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.setattr(shared_detectors, "HOPELESS_SECONDS", 2.0)
    for node in nodes.nodes:
        node.unfit(why)
    with (
        pytest.raises(error, match=message) as raised,
        detected(sampled, nodes, max_detectors=1) as results,
    ):
        list(results)
    assert "no node can do it" in raised.value.__notes__[0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"when_gpu_full": "fail"}, "no node has room, and when_gpu_full is `fail`"),
        ({"wait_seconds": 8}, r"no room for a detector within \d+ s \(wait_seconds\)"),
        ({"footprint_bytes": 100 * GIB}, "no node has a place for a detector"),
    ],
)
def test_a_step_for_which_there_is_no_room_fails_by_the_rules(
    sampled: Path,
    nodes: RayNodes,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.setattr(shared_detectors, "HOPELESS_SECONDS", 2.0)
    with (
        hogged(nodes),
        pytest.raises(NoRoomError, match=message) as raised,
        detected(sampled, nodes, device="cuda", **fields) as results,
    ):
        list(results)
    assert raised.value.never == ("footprint_bytes" in fields)


def test_a_step_that_waits_for_room_says_so_and_counts_it(
    sampled: Path, nodes: RayNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_detectors, "FIRST_MESSAGE_SECONDS", 2.0)
    said: list[str] = []
    with contextlib.ExitStack() as hogs:
        hogs.enter_context(hogged(nodes))

        def say(message: str) -> None:
            said.append(message)
            if "waiting for a detector" in message and "GPU 1" in message:
                hogs.close()

        with detected(sampled, nodes, say, device="cuda") as results:
            tallies = [one.tally for one in results]
    assert sum(tally.waits for tally in tallies) == 1
    assert sum(tally.wait_seconds for tally in tallies) > 0
    assert all(tally.gpu_preferred for tally in tallies)


def test_there_are_no_more_detectors_than_are_allowed(sampled: Path, nodes: RayNodes) -> None:
    for node in nodes.nodes:
        node.slow(0.02)
    with watched(nodes) as states, detected(sampled, nodes, max_detectors=1) as results:
        assert len(list(results)) > 1
    assert max(map(len, states)) == 1


def test_a_node_of_another_version_is_given_nothing(
    some_videos: Path, sampled: Path, nodes: RayNodes, tmp_path: Path
) -> None:
    said: list[str] = []
    with contextlib.ExitStack() as taken:
        taken.enter_context(taken_cores(nodes))  # so that the first videos come to the other node
        with another_version(nodes) as other:

            def say(message: str) -> None:
                said.append(message)
                taken.close()

            frames = sampled_on(nodes, some_videos, tmp_path, say)
            with detected(sampled, nodes) as results:
                boxes = [*results]
    assert {one.unit for one in frames} == {*range(SOME)}
    assert sum(one.failed for one in frames) == 0
    assert "is given no videos: it has ocr-assets 0.0.1, the run" in said[0]
    assert boxes
    assert not other.lines()


@contextlib.contextmanager
def another_version(nodes: RayNodes) -> Iterator[RayNode]:
    """A third node, with a GPU, and with another version of this package."""
    other = nodes.start(cpus=4, gpu_bytes=(24 * GIB,), version="0.0.1")
    try:
        yield other
    finally:
        nodes.nodes.remove(other)
        other.end()
        connect(nodes)
        wait_until(lambda: sum(node["Alive"] for node in ray.nodes()) == len(nodes.nodes))


@contextlib.contextmanager
def detected(
    data: Path,
    nodes: RayNodes,
    say: Any = print,
    *,
    max_detectors: int | None = None,
    **fields: Any,
) -> Iterator[Iterator[FinishedBoxes]]:
    """What comes of a day, without a run around it, which would try again."""
    connect(nodes)
    work, units = boxes_of_day(data)
    workers = compute(nodes, max_detectors=max_detectors).workers()
    observer = Observer(lambda count: None, say)
    with contextlib.closing(
        workers.detect(work, units, observer, easyocr(**fields), "test")
    ) as results:
        yield results
