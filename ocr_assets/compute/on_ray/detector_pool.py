"""The detectors of a cluster: how many there are, where, and for whom.

One named actor looks after them for all runs. It holds no work, so that its death costs nothing:
whoever asks next starts it again, and it finds the detectors that there are by their names.
"""

import logging
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ocr_assets.compute.on_ray.cluster_nodes import ClusterNodes
from ocr_assets.compute.on_ray.detector import Detector, DetectorState
from ocr_assets.compute.on_ray.dispatch import is_there
from ocr_assets.compute.on_ray.nodes import DetectorSpec

POOL_NAME = "detectors"
PREFIX = "detector-"
ROUND_SECONDS = 0.5
DEMAND_SECONDS = 30.0  # after which a step that has not said that it is alive is dead
START_SECONDS = 120.0  # that a detector may take until it answers
DEATH_SECONDS = 10.0  # for which no other one is started where one has died
SPARED_SECONDS = 60.0  # for which a node is left alone that was not fit for one
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
        has_gpus: Whether there is a GPU on which a detector fits, were it empty.
        hopeless: Why no node could hold a detector even if it were empty, as things are; None if
            one could, or may.
    """

    detectors: dict[str, Any]
    coming: int
    sentence: str
    has_looked: bool
    has_gpus: bool = False
    hopeless: Exception | None = None


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
        self._nodes = ClusterNodes()
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
            elif step in self._demands:
                self._forget(step)
            self._idle_seconds[spec.key] = spec.settings.policy.idle_seconds
            there = [one for one in self._members.values() if one.key == spec.key]
            ready = {
                one.name: one.handle
                for one in there
                if one.state is not None and one.retiring is None
            }
            coming = sum(one.state is None for one in there)
            return Offer(
                ready,
                coming,
                f"{len(ready)} detectors, {coming} more are being started; "
                f"{self._nodes.sentence(spec.key)}",
                self._nodes.have_looked(spec.key) and not is_new,
                self._nodes.has_gpus(spec.key),
                self._nodes.hopeless(spec),
            )

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
        for step in [s for s, one in self._demands.items() if now - one.at >= DEMAND_SECONDS]:
            self._forget(step)
        self._hear_members(now)
        self._nodes.hear(now, {one.spec.key: one.spec for one in self._demands.values()})
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

    def _forget(self, step: str) -> None:
        """A step is done, or dead; what detectors still have of it is of no use."""
        demand = self._demands.pop(step)
        for member in self._members.values():
            if member.key == demand.spec.key:
                member.handle.forget.remote(step)

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
                elif is_there(member.asked):
                    member.state, member.asked = ray.get(member.asked), None
                if member.retiring is not None and is_there(member.retiring):
                    if ray.get(member.retiring) == 0:
                        self._end(member)
                        continue
                    member.retiring = member.handle.retire.remote()
            except ray.exceptions.RayError as error:
                self._lose(member, error, DEATH_SECONDS)
                continue
            if member.state is None:
                if now - member.started_at > START_SECONDS:
                    late = TimeoutError(f"it did not start within {START_SECONDS:.0f} s")
                    self._lose(member, late, SPARED_SECONDS)
            elif member.state.fault is not None:
                self._lose(member, member.state.fault, SPARED_SECONDS)
            elif member.state.done:
                self._nodes.works(member.node_id, member.key, on_gpu=member.on_gpu)

    def _lose(self, member: _Member, error: Exception, seconds: float) -> None:
        """Ends one that is of no more use, and leaves its place alone for a while."""
        log.warning("%s is ended: %s", member.name, error)
        until = time.monotonic() + seconds
        self._nodes.spare(member.node_id, member.key, error, until, on_gpu=member.on_gpu)
        self._end(member)

    def _end(self, member: _Member) -> None:
        del self._members[member.name]
        ray.kill(member.handle)

    def _start_one(self, spec: DetectorSpec, now: float) -> bool:
        """Starts a detector where there is most room, on a GPU if one has some."""
        taken = Counter((one.node_id, one.on_gpu) for one in self._members.values())
        for on_gpu in (True, False):
            rooms = self._nodes.room(spec, taken, now, on_gpu=on_gpu)
            best = max(rooms, key=lambda node_id: rooms[node_id], default=None)
            if best is not None and rooms[best] > 0:
                self._start(spec, best, on_gpu)
                return True
        return False

    def _start(self, spec: DetectorSpec, node_id: str, on_gpu: bool) -> None:
        kind = "gpu" if on_gpu else "cpu"
        name = f"{PREFIX}{spec.key}-{kind}-{node_id}-{uuid.uuid4().hex[:8]}"
        handle = (
            ray.remote(Detector)
            .options(
                name=name,
                namespace=self._namespace,
                lifetime="detached",
                **self._nodes.resources(node_id, spec, on_gpu=on_gpu),
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


def _idle_seconds(member: _Member) -> float:
    """How long it has had nothing to do, as it said a moment ago; of a young one nothing."""
    return member.state.idle_seconds if member.state is not None else 0.0
