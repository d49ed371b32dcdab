"""Nodes of a Ray cluster on this machine, each as if it were a host of its own."""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import ray

from ocr_assets.settings import STATE_VARIABLE
from tests.compute.node_detector import LOG_VARIABLE
from tests.compute.node_site.sitecustomize import CLIENT_VARIABLE, FAKE_VARIABLE, VERSION_VARIABLE
from tests.fake_nvml import FakeNvml

ROOT = Path(__file__).parents[2]
SITE = Path(__file__).with_name("node_site")
START_SECONDS = 60


@dataclass(frozen=True)
class RayNode:
    """One node.

    Attributes:
        process: `ray start --block`, whose children are the node.
        nvml: Its GPUs.
        gpus: Their UUIDs, in order.
        folder: Its log of detectors and its leases.
        marker: Its own among the nodes that were started.
    """

    process: subprocess.Popen[bytes]
    nvml: FakeNvml
    gpus: list[str]
    folder: Path
    marker: int

    @property
    def raylet(self) -> psutil.Process:
        """The process that is the node to the cluster."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        (raylet,) = (child for child in children if child.name() == "raylet")
        return raylet

    @property
    def node_id(self) -> str:
        """Ray's id of it; this process is connected to the cluster."""
        (node_id,) = (
            node["NodeID"] for node in ray.nodes() if f"marker-{self.marker}" in node["Resources"]
        )
        return node_id

    def processes(self, name: str) -> list[psutil.Process]:
        """Its workers that are at such a task or are such an actor at the moment."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.cmdline()[:1] and child.cmdline()[0].startswith(f"ray::{name}"):
                    found.append(child)
        return found

    def lines(self) -> list[str]:
        """What its detectors have written down, without their process ids."""
        return [line.partition(" ")[2] for line in self._log()]

    def last_process(self) -> int:
        """The process of the detector that has looked at a frame last."""
        return int(
            next(line for line in reversed(self._log()) if line.endswith("frame")).split()[0]
        )

    def slow(self, seconds: float) -> None:
        """From now on its detectors take so long for a frame."""
        (self.folder / "slow").write_text(str(seconds))

    def deadly(self, number: int) -> None:
        """From now on a picture whose first number is this one kills its detectors."""
        (self.folder / "deadly").write_text(str(number))

    def unfit(self, why: str) -> None:
        """From now on no detector works there: for want of `weights`, or of a `state folder`."""
        if why == "weights":
            (self.folder / "unfit").touch()
        else:
            self.leases.mkdir(exist_ok=True)
            self.leases.chmod(0o755)

    def fail_client(self) -> None:
        """The next connection of another host to this node, the head, fails."""
        (self.folder / "no_client").touch()

    @property
    def leases(self) -> Path:
        """Its state folder."""
        return self.folder / "leases"

    def numbers_by_process(self) -> dict[int, set[int]]:
        """Which pictures each of its detectors has seen, by their first numbers."""
        seen: dict[int, set[int]] = {}
        for line in self._log():
            process, what, *rest = line.split()
            if what == "picture":
                seen.setdefault(int(process), set()).add(int(rest[0]))
        return seen

    def forget(self) -> None:
        """None of those any more, and nothing written down."""
        for name in ("slow", "deadly", "unfit", "no_client", "log"):
            (self.folder / name).unlink(missing_ok=True)
        if self.leases.exists():
            self.leases.chmod(0o700)

    def _log(self) -> list[str]:
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []

    def end(self) -> None:
        """Ends all its processes."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
        self.process.kill()
        self.process.wait()


class RayNodes:
    """A cluster that grows node by node.

    Attributes:
        address: The cluster's, for its nodes.
        client_address: The cluster's, for other hosts.
        nodes: Those that were started, the head first.
    """

    def __init__(self, folder: Path, nvml_library: Path) -> None:
        """Starts nothing yet.

        Args:
            folder: Where nodes keep what they write.
            nvml_library: The fake NVML.
        """
        self._folder = folder
        self._library = nvml_library
        # Sockets have short paths.
        self._sessions = tempfile.mkdtemp(prefix="ray-")
        self.address = f"127.0.0.1:{_free_port()}"
        self.client_address = f"ray://127.0.0.1:{_free_port()}"
        self.nodes: list[RayNode] = []
        self._markers = itertools.count()

    def start(
        self, *, cpus: int, gpu_bytes: tuple[int, ...] = (), version: str | None = None
    ) -> RayNode:
        """Starts a node and waits until it is part of the cluster.

        Args:
            cpus: What it has to offer.
            gpu_bytes: The memory of each of its GPUs.
            version: What it says that its version of this package is; None: the truth.
        """
        marker = next(self._markers)
        folder = self._folder / f"node{marker}"
        folder.mkdir(parents=True)
        nvml = FakeNvml(folder / "nvml", self._library)
        gpus = [nvml.add_gpu(size) for size in gpu_bytes]
        host, _, port = self.address.partition(":")
        place = (
            [
                *("--head", f"--port={port}", "--include-dashboard=false"),
                f"--ray-client-server-port={self.client_address.rpartition(':')[2]}",
            ]
            if not self.nodes
            else [f"--address={self.address}"]
        )
        environment = {
            **os.environ,
            **nvml.environment,
            "PYTHONPATH": f"{SITE}:{ROOT}",
            STATE_VARIABLE: str(folder / "leases"),
            FAKE_VARIABLE: "tests.compute.node_detector",
            LOG_VARIABLE: str(folder / "log"),
            CLIENT_VARIABLE: str(folder / "no_client"),
        }
        environment.pop("CUDA_VISIBLE_DEVICES", None)
        if version is not None:
            info = folder / f"ocr_assets-{version}.dist-info"
            info.mkdir()
            text = f"Metadata-Version: 2.1\nName: ocr-assets\nVersion: {version}\n"
            (info / "METADATA").write_text(text)
            environment[VERSION_VARIABLE] = str(info)
        with (folder / "ray_start").open("wb") as log:
            process = subprocess.Popen(
                [
                    *("ray", "start", "--block", "--disable-usage-stats", *place),
                    *(f"--node-ip-address={host}", f"--num-cpus={cpus}"),
                    *(f"--num-gpus={len(gpu_bytes)}", "--object-store-memory=80000000"),
                    f'--resources={{"marker-{marker}": 1}}',
                    *([f"--temp-dir={self._sessions}"] if not self.nodes else []),
                ],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        node = RayNode(process, nvml, gpus, folder, marker)
        self.nodes.append(node)
        deadline = time.monotonic() + START_SECONDS
        while b"Ray runtime started" not in (folder / "ray_start").read_bytes():
            assert process.poll() is None, (folder / "ray_start").read_text()
            assert time.monotonic() < deadline, (folder / "ray_start").read_text()
            time.sleep(0.1)
        return node

    def end(self) -> None:
        """Ends all nodes."""
        for node in reversed(self.nodes):
            node.end()
        shutil.rmtree(self._sessions, ignore_errors=True)


@contextlib.contextmanager
def ray_nodes(folder: Path, nvml_library: Path) -> Iterator[RayNodes]:
    """A cluster without nodes yet; leaves none behind."""
    nodes = RayNodes(folder, nvml_library)
    try:
        yield nodes
    finally:
        nodes.end()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def kill(process: psutil.Process) -> None:
    """As a host that loses its power ends it."""
    process.send_signal(signal.SIGKILL)
