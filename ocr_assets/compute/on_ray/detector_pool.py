"""The detectors of a cluster: how many there are, where, and for whom.

One named actor looks after them for all runs. It holds no work, so that its death costs nothing:
whoever asks next starts it again, and it finds the detectors that there are by their names.
"""

import logging
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ocr_assets.compute.on_ray.detector import Detector, DetectorState
from ocr_assets.compute.on_ray.nodes import DetectorSpec, NodeFacts, NodeSlots, look

POOL_NAME = "detectors"
PREFIX = "detector-"
ROUND_SECONDS = 0.5
FACTS_SECONDS = 10.0  # for how long what a node has said of itself is believed
ANSWER_SECONDS = 20.0  # that a node may take for that before it is gone on without
DEMAND_SECONDS = 30.0  # after which a step that has not said that it is alive is dead
START_SECONDS = 120.0  # that a detector may take until it answers
DEATH_SECONDS = 10.0  # for which no other one is started where one has died
SPARED_SECONDS = 60.0  # for which a node is left alone on which one had no room, or did not start
UNUSED_SECONDS = 60.0  # after which the pool itself ends
CALLS_AT_ONCE = 256
ALL_GPUS_VISIBLE = "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Offer:
    """What a step may use now.

    Attributes:
        detectors: Their handles by their names.
        coming: How many more are being started.
        sentence: How many there are and why not more, for people.
        has_looked: Whether every node has said by now what it has room for.
    """

    detectors: dict[str, Any]
    coming: int
    sentence: str
    has_looked: bool


@dataclass(frozen=True)
class PoolState:
    """The pool at one moment: by name, what each detector has last said of itself."""

    detectors: dict[str, DetectorState]
    steps: int


@dataclass
class _Demand:
    spec: DetectorSpec
    units: int
    most: int | None
    at: float


@dataclass(eq=False)
class _Member:
    name: str
    handle: Any
    key: str
    node_id: str
    on_gpu: bool
    started_at: float
    state: DetectorState | None = None
    asked: Any = None  # a reference to its next state
    retiring: Any = None  # a reference to how many units it still has


@dataclass(eq=False)
class _Node:
    gpus: float
    cpus: float
    facts: dict[str, NodeFacts] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)
    looked_at: dict[str, float] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    spared_until: dict[tuple[str, bool], float] = field(default_factory=dict)


class DetectorPool:
    """Starts detectors where nodes have room for them, and ends those that nobody needs."""

    def __init__(self, namespace: str) -> None:
        """Finds the detectors that there are.

        Args:
            namespace: The Ray namespace that it works in.
        """
        self._namespace = namespace
        self._lock = threading.RLock()
        self._demands: dict[str, _Demand] = {}
        self._members: dict[str, _Member] = {}
        self._nodes: dict[str, _Node] = {}
        self._idle_seconds: dict[str, float] = {}
        self._used_at = time.monotonic()
        self._adopt()
        threading.Thread(target=self._look_after, name="detectors", daemon=True).start()

    def ask(self, step: str, spec: DetectorSpec, units: int, most: int | None) -> Offer:
        """Detectors for a step, which asks again every second or so for as long as it lives.

        Args:
            step: An id of its own.
            spec: What they are to be like.
            units: How many units it has left, those under way included; 0: it needs none any more.
            most: Most detectors at once that it allows; None: any number.
        """
        with self._lock:
            self._used_at = time.monotonic()
            is_new = step not in self._demands
            if units:
                self._demands[step] = _Demand(spec, units, most, self._used_at)
            else:
                self._demands.pop(step, None)
            self._idle_seconds[spec.key] = spec.settings.policy.idle_seconds
            there = [one for one in self._members.values() if one.key == spec.key]
            ready = {
                one.name: one.handle
                for one in there
                if one.state is not None and one.retiring is None
            }
            coming = sum(one.state is None for one in there)
            has_looked = self._has_looked(spec.key) and not is_new
            return Offer(ready, coming, self._sentence(spec.key), has_looked)

    def state(self) -> PoolState:
        """How things are, for people and tests."""
        with self._lock:
            states = {one.name: one.state for one in self._members.values() if one.state}
            return PoolState(states, len(self._demands))

    def _look_after(self) -> None:
        while True:
            try:
                with self._lock:
                    self._round()
            except Exception:
                # What failed in this round is tried in the next one, and steps see that they wait.
                log.exception("a round of looking after the detectors failed")
            time.sleep(ROUND_SECONDS)

    def _round(self) -> None:
        now = time.monotonic()
        self._demands = {
            step: demand
            for step, demand in self._demands.items()
            if now - demand.at < DEMAND_SECONDS
        }
        self._hear_members(now)
        self._hear_nodes(now)
        wanted = self._wanted()
        missing, starving = False, False
        for key, (spec, count) in wanted.items():
            have = len(self._there(key))
            while have < count and self._start_one(spec, now):
                have += 1
            missing |= have < count
            starving |= have == 0
        self._retire(wanted, others_wait=missing)
        if starving:
            self._make_room()
        if not self._members and not self._demands and now - self._used_at > UNUSED_SECONDS:
            ray.kill(ray.get_runtime_context().current_actor)

    def _wanted(self) -> dict[str, tuple[DetectorSpec, int]]:
        """How many detectors of each kind there would be, were there room."""
        wanted: dict[str, tuple[DetectorSpec, int]] = {}
        for demand in self._demands.values():
            key = demand.spec.key
            count = wanted[key][1] + demand.units if key in wanted else demand.units
            wanted[key] = demand.spec, count
        for demand in self._demands.values():
            if demand.most is not None:
                spec, count = wanted[demand.spec.key]
                wanted[demand.spec.key] = spec, min(count, demand.most)
        return wanted

    def _adopt(self) -> None:
        for actor in ray.util.list_named_actors(all_namespaces=True):
            name = actor["name"]
            if actor["namespace"] == self._namespace and name.startswith(PREFIX):
                handle = ray.get_actor(name, self._namespace)
                self._members[name] = _Member(
                    name,
                    handle,
                    name.split("-")[1],
                    node_of(name),
                    is_on_gpu(name),
                    time.monotonic(),
                )

    def _hear_members(self, now: float) -> None:
        for member in list(self._members.values()):
            try:
                if member.asked is None:
                    member.asked = member.handle.state.remote()
                elif _is_there(member.asked):
                    member.state, member.asked = ray.get(member.asked), None
                if member.retiring is not None and _is_there(member.retiring):
                    if ray.get(member.retiring) == 0:
                        self._end(member)
                        continue
                    member.retiring = member.handle.retire.remote()
            except ray.exceptions.RayError as error:
                log.warning("%s is gone: %s", member.name, error)
                self._spare(member, now + DEATH_SECONDS)
                self._end(member)
                continue
            late = member.state is None and now - member.started_at > START_SECONDS
            fault = member.state.fault if member.state is not None else None
            if late or fault:
                log.warning("%s is ended: %s", member.name, fault or "it does not start")
                self._spare(member, now + SPARED_SECONDS)
                self._end(member)

    def _spare(self, member: _Member, until: float) -> None:
        if member.node_id in self._nodes:
            self._nodes[member.node_id].spared_until[member.key, member.on_gpu] = until

    def _end(self, member: _Member) -> None:
        del self._members[member.name]
        ray.kill(member.handle)

    def _hear_nodes(self, now: float) -> None:
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        alive = {node["NodeID"]: node["Resources"] for node in nodes if node["Alive"]}
        for node_id in self._nodes.keys() - alive.keys():
            del self._nodes[node_id]
        specs = {demand.spec.key: demand.spec for demand in self._demands.values()}
        for node in self._nodes.values():
            for known in (node.facts, node.asked, node.looked_at, node.problems):
                for key in known.keys() - specs.keys():
                    del known[key]
        for node_id, resources in alive.items():
            node = self._nodes.setdefault(node_id, _Node(0.0, 0.0))
            node.gpus, node.cpus = resources.get("GPU", 0.0), resources.get("CPU", 0.0)
            for key, spec in specs.items():
                if key in node.asked:
                    self._hear_node(node, key, spec)
                elif now - node.looked_at.get(key, float("-inf")) > FACTS_SECONDS:
                    node.looked_at[key] = now
                    node.asked[key] = _look.options(
                        scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)
                    ).remote(spec)

    def _hear_node(self, node: _Node, key: str, spec: DetectorSpec) -> None:
        if not _is_there(node.asked[key]):
            return
        try:
            facts: NodeFacts = ray.get(node.asked.pop(key))
        except ray.exceptions.RayError as error:
            node.facts.pop(key, None)
            node.problems[key] = str(error).strip().splitlines()[-1]
            return
        if facts.version != spec.version:
            node.facts.pop(key, None)
            node.problems[key] = f"it has ocr-assets {facts.version}, the run {spec.version}"
            return
        node.facts[key] = facts
        node.problems.pop(key, None)

    def _start_one(self, spec: DetectorSpec, now: float) -> bool:
        """Starts a detector where there is most room, on a GPU if one has some."""
        for on_gpu in (True, False) if self._may_use_cpus(spec) else (True,):
            nodes = {
                node_id: node
                for node_id, node in self._nodes.items()
                if spec.key in node.facts and node.spared_until.get((spec.key, on_gpu), 0.0) <= now
            }
            rooms = {node_id: self._room(node_id, spec, on_gpu) for node_id in nodes}
            best = max(rooms, key=lambda node_id: rooms[node_id], default=None)
            if best is not None and rooms[best] > 0:
                self._start(spec, best, nodes[best], on_gpu)
                return True
        return False

    def _may_use_cpus(self, spec: DetectorSpec) -> bool:
        """Whether the policy admits them; where there are GPUs, for what finds no room there."""
        policy = spec.settings.policy
        if policy.device == "cpu":
            return True
        if policy.device == "cuda" or not self._has_looked(spec.key):
            return False  # those who have GPUs are heard first
        facts = [node.facts[spec.key] for node in self._nodes.values() if spec.key in node.facts]
        return policy.overflow == "cpu" or not any(one.gpu.at_best for one in facts)

    def _room(self, node_id: str, spec: DetectorSpec, on_gpu: bool) -> int:
        node = self._nodes[node_id]
        facts = node.facts[spec.key]
        slots: NodeSlots = facts.gpu if on_gpu else facts.cpu
        # More than Ray has for them would wait there, and be taken for broken.
        if on_gpu:
            most = int(1 / slots.gpus_each) * int(node.gpus) if slots.gpus_each else 0
        else:
            cores = _cores(spec, node)
            most = int(node.cpus / cores) if cores else 0
        ours = sum(
            one.node_id == node_id and one.on_gpu == on_gpu for one in self._members.values()
        )
        # Those of ours without a lease yet count as those with one: they are about to take it.
        return min(slots.free + slots.held, most) - ours

    def _start(self, spec: DetectorSpec, node_id: str, node: _Node, on_gpu: bool) -> None:
        kind = "gpu" if on_gpu else "cpu"
        name = f"{PREFIX}{spec.key}-{kind}-{node_id}-{uuid.uuid4().hex[:8]}"
        handle = (
            ray.remote(Detector)
            .options(
                name=name,
                namespace=self._namespace,
                lifetime="detached",
                num_gpus=node.facts[spec.key].gpu.gpus_each if on_gpu else 0,
                num_cpus=0 if on_gpu else _cores(spec, node),
                max_concurrency=CALLS_AT_ONCE,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
                # Ray counts; which GPU it is, the lease says, which knows how full they are.
                runtime_env={"env_vars": {ALL_GPUS_VISIBLE: "1"}} if on_gpu else None,
            )
            .remote(spec, on_gpu=on_gpu)
        )
        self._members[name] = _Member(name, handle, spec.key, node_id, on_gpu, time.monotonic())

    def _retire(self, wanted: dict[str, tuple[DetectorSpec, int]], *, others_wait: bool) -> None:
        """Ends what is not needed: at once if others wait for its room, else after a while."""
        for key in {member.key for member in self._members.values()}:
            there = self._there(key)
            surplus = len(there) - (wanted[key][1] if key in wanted else 0)
            patience = self._idle_seconds.get(key, 0.0)
            if others_wait and key not in wanted:
                patience = 0.0
            idle = [one for one in there if _idle_seconds(one) >= max(patience, ROUND_SECONDS)]
            for member in sorted(idle, key=lambda one: one.on_gpu)[: max(surplus, 0)]:
                member.retiring = member.handle.retire.remote()

    def _make_room(self) -> None:
        """Ends one of those that others have most of, so that one kind does not keep out another.

        One at a time, and of several alone: what is there finishes what it has begun.
        """
        if any(one.retiring is not None for one in self._members.values()):
            return
        kinds = [self._there(key) for key in {one.key for one in self._members.values()}]
        most = max(kinds, key=len, default=[])
        if len(most) > 1:
            most[-1].retiring = most[-1].handle.retire.remote()

    def _there(self, key: str) -> list[_Member]:
        """Those of a kind that take on work, or soon will."""
        return [one for one in self._members.values() if one.key == key and one.retiring is None]

    def _has_looked(self, key: str) -> bool:
        """Whether every node has said what it has room for, or does not answer."""
        late = time.monotonic() - ANSWER_SECONDS
        return bool(self._nodes) and all(
            key in node.facts
            or key in node.problems
            or node.looked_at.get(key, float("inf")) < late
            for node in self._nodes.values()
        )

    def _sentence(self, key: str) -> str:
        there = [one for one in self._members.values() if one.key == key]
        ready = sum(one.state is not None for one in there)
        parts = [f"{ready} detectors, {len(there) - ready} more are being started"]
        for node_id, node in self._nodes.items():
            said = node.facts[key].sentence if key in node.facts else node.problems.get(key)
            parts.append(f"node {node_id[:8]}: {said or 'has not answered yet'}")
        return "; ".join(parts)


_look = ray.remote(num_cpus=0, max_retries=0)(look)


def detector_pool(namespace: str) -> Any:
    """The handle of the namespace's pool, which is started if need be."""
    return (
        ray.remote(DetectorPool)
        .options(
            name=POOL_NAME,
            namespace=namespace,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=0,
            max_restarts=-1,
            max_concurrency=CALLS_AT_ONCE,
        )
        .remote(namespace)
    )


def node_of(name: str) -> str:
    """Ray's id of the node on which a detector of that name is."""
    return name.split("-")[3]


def is_on_gpu(name: str) -> bool:
    """Whether a detector of that name has a share of a GPU."""
    return name.split("-")[2:3] == ["gpu"]


def _cores(spec: DetectorSpec, node: _Node) -> float:
    """What a detector on the CPU asks Ray for."""
    return min(float(spec.settings.policy.cores_per_cpu_reader), node.cpus)


def _is_there(reference: Any) -> bool:
    ready, _ = ray.wait([reference], timeout=0)
    return bool(ready)


def _idle_seconds(member: _Member) -> float:
    """How long it has had nothing to do, as it said a moment ago; of a young one nothing."""
    return member.state.idle_seconds if member.state is not None else 0.0
