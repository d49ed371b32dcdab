"""How many videos a cluster gets through, worked out from what single pieces of work take.

Each step of a day is a line of stations that every unit of work passes: the process that drives the
step, the network, the storage, cores, GPUs. The simulation lets units through one by one; as many
are under way as the engine allows. No failures, no waiting for room, all units alike.
"""

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

SIMULATED_UNITS = 20_000
DECODERS = 8  # threads that decode images for one detector
UNITS_AHEAD = 3  # `compute.units_ahead`
DRIVER = "driver"
CORES, GPUS = "cores", "GPUs"
NETWORK, STORAGE = "network", "storage"


@dataclass(frozen=True)
class Costs:
    """What pieces of work take; seconds of one core, unless it says otherwise.

    Attributes:
        video_bytes: Size of a video.
        frames_a_video: How many are sampled.
        image_bytes: Size of a stored frame.
        part_frames: Frames in a part file.
        inspect_seconds: Looking at a video for `video_manifest`.
        sample_seconds: Decoding a video's frames and compressing them.
        decode_image_seconds: Decompressing a frame.
        gpu_frames_a_second: What a GPU gets through.
        sample_driver_seconds: Of the driving process, for a unit of `sampled_frames`.
        boxes_driver_seconds: The same of `ocr_boxes`.
        wait_seconds: More of it for each unit under way.
        commit_seconds: Of it, for each part that is committed.
    """

    video_bytes: float
    frames_a_video: int
    image_bytes: float
    part_frames: int
    inspect_seconds: float
    sample_seconds: float
    decode_image_seconds: float
    gpu_frames_a_second: float
    sample_driver_seconds: float
    boxes_driver_seconds: float
    wait_seconds: float
    commit_seconds: float

    @property
    def part_bytes(self) -> float:
        """Size of a part file of `sampled_frames`."""
        return self.part_frames * self.image_bytes

    @property
    def videos_a_part(self) -> float:
        """How many videos' frames it has."""
        return self.part_frames / self.frames_a_video


@dataclass(frozen=True)
class Cluster:
    """What there is.

    Attributes:
        nodes: Hosts, one of which drives.
        gpus_a_node: GPUs of each.
        cores_a_gpu: Cores of each, for each of its GPUs.
        network_bytes_a_second: Of each.
        storage_bytes_a_second: Of all together.
    """

    nodes: int
    gpus_a_node: int
    cores_a_gpu: int = 16
    network_bytes_a_second: float = 3e9
    storage_bytes_a_second: float = 20e9

    @property
    def gpus(self) -> int:
        """Of all nodes."""
        return self.nodes * self.gpus_a_node


@dataclass(frozen=True)
class Station:
    """Something that units pass: so many at a time, each for so long."""

    name: str
    servers: int
    seconds: float

    @property
    def units_a_second(self) -> float:
        """The most that it can do."""
        return self.servers / self.seconds if self.seconds else math.inf


@dataclass(frozen=True)
class Step:
    """An asset's work on a day.

    Attributes:
        name: The asset's.
        stations: In the order in which a unit passes them.
        units_under_way: Most at once.
        videos_a_unit: What a unit is of.
    """

    name: str
    stations: Sequence[Station]
    units_under_way: int
    videos_a_unit: float


@dataclass(frozen=True)
class Flow:
    """What comes of a step in the long run.

    Attributes:
        videos_a_second: How many it gets through.
        busy: The share of time for which each station is.
        bottleneck: The station that is busy most.
    """

    videos_a_second: float
    busy: Mapping[str, float]
    bottleneck: str


@dataclass(frozen=True)
class Forecast:
    """A day, its steps one after the other.

    Attributes:
        flows: By step.
        commit_seconds: For each video, of both tables.
    """

    flows: Mapping[str, Flow]
    commit_seconds: float

    @property
    def seconds_a_video(self) -> float:
        """All steps together."""
        steps = sum(1 / flow.videos_a_second for flow in self.flows.values())
        return steps + self.commit_seconds

    @property
    def videos_a_second(self) -> float:
        """One day after the other."""
        return 1 / self.seconds_a_video

    @property
    def videos_a_second_overlapping(self) -> float:
        """With days under way in every step at once, were no host or core wanted by two of them."""
        return min(flow.videos_a_second for flow in self.flows.values())

    @property
    def slowest(self) -> str:
        """The step that takes longest."""
        return min(self.flows, key=lambda name: self.flows[name].videos_a_second)


def forecast(costs: Costs, cluster: Cluster) -> Forecast:
    """What a cluster gets through."""
    flows = {step.name: simulate(step) for step in steps(costs, cluster)}
    return Forecast(flows, 2 * costs.commit_seconds / costs.videos_a_part)


def steps(costs: Costs, cluster: Cluster) -> list[Step]:
    """The steps with heavy work, as they go through a cluster."""
    videos = costs.videos_a_part
    cores = cluster.nodes * cluster.gpus_a_node * cluster.cores_a_gpu
    decoded_bytes = videos * costs.video_bytes + costs.part_bytes
    decode_tasks = UNITS_AHEAD * cores
    units_of_gpus = UNITS_AHEAD * cluster.gpus
    image_seconds = costs.part_frames * costs.decode_image_seconds
    return [
        Step(
            "video_manifest",  # the host that drives does it alone
            [
                *_transfer(replace(cluster, nodes=1), videos * costs.video_bytes),
                Station(
                    CORES, cluster.gpus_a_node * cluster.cores_a_gpu, videos * costs.inspect_seconds
                ),
            ],
            SIMULATED_UNITS,
            videos,
        ),
        Step(
            "sampled_frames",
            [
                Station(DRIVER, 1, costs.sample_driver_seconds + decode_tasks * costs.wait_seconds),
                *_transfer(cluster, decoded_bytes),
                Station(CORES, cores, videos * costs.sample_seconds),
            ],
            decode_tasks,
            videos,
        ),
        Step(
            "ocr_boxes",
            [
                Station(DRIVER, 1, costs.boxes_driver_seconds + units_of_gpus * costs.wait_seconds),
                *_transfer(cluster, costs.part_bytes),
                Station(CORES, max(cores // DECODERS, 1), image_seconds / DECODERS),
                Station(GPUS, cluster.gpus, costs.part_frames / costs.gpu_frames_a_second),
            ],
            units_of_gpus,
            videos,
        ),
    ]


def _transfer(cluster: Cluster, size_bytes: float) -> list[Station]:
    return [
        Station(STORAGE, 1, size_bytes / cluster.storage_bytes_a_second),
        Station(NETWORK, cluster.nodes, size_bytes / cluster.network_bytes_a_second),
    ]


def simulate(step: Step, units: int = SIMULATED_UNITS) -> Flow:
    """Lets units through a step and looks at the second half of them.

    Args:
        step: The step.
        units: How many.
    """
    free = [[0.0] * station.servers for station in step.stations]
    under_way: list[float] = []  # when each of them will be done
    done: list[float] = []
    for _ in range(units):
        now = heapq.heappop(under_way) if len(under_way) == step.units_under_way else 0.0
        for servers, station in zip(free, step.stations, strict=True):
            now = max(now, servers[0]) + station.seconds
            heapq.heapreplace(servers, now)
        heapq.heappush(under_way, now)
        done.append(now)
    done.sort()
    half = units // 2
    units_a_second = (units - half) / (done[-1] - done[half - 1])
    busy = {station.name: units_a_second / station.units_a_second for station in step.stations}
    return Flow(units_a_second * step.videos_a_unit, busy, max(busy, key=lambda name: busy[name]))


def nodes_that_help(costs: Costs, cluster: Cluster, step: str) -> float:
    """How many nodes can be of use to a step: with more, what there is only one of limits it.

    Args:
        costs: What work takes.
        cluster: A node's size, and the storage.
        step: The step's name.
    """
    one = replace(cluster, nodes=1)
    (found,) = (each for each in steps(costs, one) if each.name == step)
    shared = [each for each in found.stations if each.name in (DRIVER, STORAGE)]
    own = [each for each in found.stations if each.name not in (DRIVER, STORAGE)]
    return min(each.units_a_second for each in shared) / min(each.units_a_second for each in own)
