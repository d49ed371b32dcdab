"""The nodes of a cluster: what each has said of its room, and where detectors did not work."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ocr_assets.compute.on_ray.dispatch import is_there
from ocr_assets.compute.on_ray.nodes import DetectorSpec, NodeFacts, NodeSlots, look
from ocr_assets.compute.ray_environment import OtherVersionError
from ocr_assets.gpu.faults import DeviceFaultError
from ocr_assets.gpu.placement import NoRoomError

FACTS_SECONDS = 10.0  # for how long what a node has said of itself is believed
ANSWER_SECONDS = 20.0  # that a node may take for that before it is gone on without


@dataclass(eq=False)
class _Node:
    """What is known of a node, by the keys of kinds of detectors; of its GPUs and its CPU apart."""

    gpus: float
    cpus: float
    facts: dict[str, NodeFacts] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)
    looked_at: dict[str, float] = field(default_factory=dict)
    problems: dict[str, Exception] = field(default_factory=dict)
    faults: dict[tuple[str, bool], Exception] = field(default_factory=dict)
    spared_until: dict[tuple[str, bool], float] = field(default_factory=dict)


class ClusterNodes:
    """Asks nodes for their room, now and then, and keeps in mind what they said."""

    def __init__(self) -> None:
        """Knows of none yet."""
        self._nodes: dict[str, _Node] = {}

    def hear(self, now: float, specs: Mapping[str, DetectorSpec]) -> None:
        """Takes in what nodes have answered, and asks those that have not been asked for a while.

        Args:
            now: As `time.monotonic` has it.
            specs: Kinds of detectors that somebody has work for, by their keys.
        """
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        alive = {node["NodeID"]: node["Resources"] for node in nodes if node["Alive"]}
        for node_id in self._nodes.keys() - alive.keys():
            del self._nodes[node_id]
        for node in self._nodes.values():
            for known in (node.facts, node.asked, node.looked_at, node.problems):
                for key in known.keys() - specs.keys():
                    del known[key]
            for place in [place for place in node.faults if place[0] not in specs]:
                del node.faults[place]
        for node_id, resources in alive.items():
            node = self._nodes.setdefault(node_id, _Node(0.0, 0.0))
            node.gpus, node.cpus = resources.get("GPU", 0.0), resources.get("CPU", 0.0)
            for key, spec in specs.items():
                if key in node.asked:
                    _hear_answer(node, key, spec)
                elif now - node.looked_at.get(key, float("-inf")) > FACTS_SECONDS:
                    node.looked_at[key] = now
                    node.asked[key] = _look.options(
                        scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)
                    ).remote(spec)

    def spare(
        self, node_id: str, key: str, error: Exception, until: float, *, on_gpu: bool
    ) -> None:
        """No detector of a kind is started on a node's GPUs, or its CPU, until then.

        Args:
            node_id: Ray's id of it.
            key: That of the kind.
            error: What happened to the last one; people are told until another one works.
            until: When.
            on_gpu: Whether it was on a GPU.
        """
        if node_id in self._nodes:
            self._nodes[node_id].spared_until[key, on_gpu] = until
            self._nodes[node_id].faults[key, on_gpu] = error

    def works(self, node_id: str, key: str, *, on_gpu: bool) -> None:
        """A detector there has done something."""
        if node_id in self._nodes:
            self._nodes[node_id].faults.pop((key, on_gpu), None)

    def room(
        self, spec: DetectorSpec, taken: Mapping[tuple[str, bool], int], now: float, *, on_gpu: bool
    ) -> dict[str, int]:
        """How many more detectors each node has room for, those left out that are spared.

        Args:
            spec: What they are like.
            taken: How many of whichever kind are there or about to be, by node and whether they are
                on a GPU.
            now: As `time.monotonic` has it.
            on_gpu: Whether they are to be on GPUs.
        """
        if not on_gpu and not self._may_use_cpus(spec):
            return {}
        rooms = {}
        for node_id, node in self._nodes.items():
            if spec.key in node.facts and node.spared_until.get((spec.key, on_gpu), 0.0) <= now:
                slots = _slots(node, spec.key, on_gpu=on_gpu)
                # Those of ours without a lease yet count as those with one: they are about to take
                # it.
                most = min(slots.free + slots.held, _most(node, spec, on_gpu=on_gpu))
                rooms[node_id] = most - taken.get((node_id, on_gpu), 0)
        return rooms

    def resources(self, node_id: str, spec: DetectorSpec, *, on_gpu: bool) -> dict[str, float]:
        """What a detector there asks Ray for."""
        node = self._nodes[node_id]
        if on_gpu:
            return {"num_gpus": node.facts[spec.key].gpu.gpus_each, "num_cpus": 0}
        return {"num_gpus": 0, "num_cpus": _cores(spec, node)}

    def has_gpus(self, key: str) -> bool:
        """Whether a detector fits on a GPU somewhere, were that empty."""
        facts = [node.facts[key] for node in self._nodes.values() if key in node.facts]
        return any(one.gpu.at_best for one in facts)

    def have_looked(self, key: str) -> bool:
        """Whether every node has said what it has room for, or does not answer."""
        late = time.monotonic() - ANSWER_SECONDS
        return bool(self._nodes) and all(
            key in node.facts
            or key in node.problems
            or node.looked_at.get(key, float("inf")) < late
            for node in self._nodes.values()
        )

    def hopeless(self, spec: DetectorSpec) -> Exception | None:
        """Why no node could hold a detector even if it were empty; None if one could, or may.

        Either they have no place for one, or what happened to the last one there, or to the look
        for room, would happen again.
        """
        if not self.have_looked(spec.key):
            return None
        errors: list[Exception] = []
        for node in self._nodes.values():
            if spec.key in node.problems:
                errors.append(node.problems[spec.key])
            elif spec.key not in node.facts:
                return None
            else:
                for place in self._places(node, spec):
                    if place not in node.faults:
                        return None
                    errors.append(node.faults[place])
        if not all(_is_lasting(error) for error in errors):
            return None
        # One for which something can be done says more than that a node has another version.
        errors.sort(key=lambda error: isinstance(error, OtherVersionError))
        nowhere = "no node has a place for a detector, even if nothing else ran there"
        return errors[0] if errors else NoRoomError(nowhere, never=True)

    def sentence(self, key: str) -> str:
        """What nodes have said, and what happened there, for people."""
        return "; ".join(
            f"node {node_id[:8]}: {', '.join(_said(node, key))}"
            for node_id, node in self._nodes.items()
        )

    def _places(self, node: _Node, spec: DetectorSpec) -> Iterator[tuple[str, bool]]:
        """Where a detector could be if nothing else ran there: on the GPUs, on the CPU."""
        for on_gpu in (True, False):
            if (
                _slots(node, spec.key, on_gpu=on_gpu).at_best
                and _most(node, spec, on_gpu=on_gpu)
                and (on_gpu or self._may_use_cpus(spec))
            ):
                yield spec.key, on_gpu

    def _may_use_cpus(self, spec: DetectorSpec) -> bool:
        """Whether the policy admits them; where there are GPUs, for what finds no room there."""
        policy = spec.settings.policy
        if policy.device == "cpu":
            return True
        if policy.device == "cuda" or not self.have_looked(spec.key):
            return False  # those who have GPUs are heard first
        return policy.overflow == "cpu" or not self.has_gpus(spec.key)


def _hear_answer(node: _Node, key: str, spec: DetectorSpec) -> None:
    if not is_there(node.asked[key]):
        return
    try:
        facts: NodeFacts = ray.get(node.asked.pop(key))
    except ray.exceptions.RayError as error:
        node.facts.pop(key, None)
        cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
        node.problems[key] = cause if isinstance(cause, Exception) else error
        return
    if facts.version != spec.version:
        node.facts.pop(key, None)
        node.problems[key] = OtherVersionError(
            f"it has ocr-assets {facts.version}, the run {spec.version}"
        )
        return
    node.facts[key] = facts
    node.problems.pop(key, None)


def _slots(node: _Node, key: str, *, on_gpu: bool) -> NodeSlots:
    return node.facts[key].gpu if on_gpu else node.facts[key].cpu


def _most(node: _Node, spec: DetectorSpec, *, on_gpu: bool) -> int:
    """How many Ray has enough for: more would wait there, and be taken for broken."""
    if on_gpu:
        each = node.facts[spec.key].gpu.gpus_each
        return int(1 / each) * int(node.gpus) if each else 0
    cores = _cores(spec, node)
    return int(_cores_of_detectors(node) / cores) if cores else 0


def _cores_of_detectors(node: _Node) -> float:
    """All but one, which is left to decode tasks, where there are several."""
    return node.cpus - 1 if node.cpus >= 2 else node.cpus


def _cores(spec: DetectorSpec, node: _Node) -> float:
    return min(float(spec.settings.policy.cores_per_cpu_reader), _cores_of_detectors(node))


def _said(node: _Node, key: str) -> Iterator[str]:
    if key in node.facts:
        yield node.facts[key].sentence
        if node.facts[key].gpu.at_best and int(node.gpus) == 0:
            yield "but Ray was told of no GPU there (`--num-gpus`)"
    else:
        yield _first_line(node.problems[key]) if key in node.problems else "has not answered yet"
    for on_gpu, name in ((True, "its GPUs"), (False, "its CPU")):
        if (key, on_gpu) in node.faults:
            yield f"the last detector on {name} ended: {_first_line(node.faults[key, on_gpu])}"


def _is_lasting(error: Exception) -> bool:
    """Whether a new detector on the same node would fail as well."""
    if isinstance(error, NoRoomError):
        return error.never
    return not isinstance(error, ray.exceptions.RayError | DeviceFaultError | TimeoutError)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


_look = ray.remote(num_cpus=0, max_retries=0)(look)
