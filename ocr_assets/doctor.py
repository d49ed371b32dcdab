"""What this machine has for text detection, who uses it, and what would run where."""

import dataclasses
import importlib.metadata
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ocr_assets.gpu.admission import LedgerState
from ocr_assets.gpu.sizes import gib
from ocr_assets.gpu.slots import DeviceSlots, Plan
from ocr_assets.gpu.snapshot import Gpu
from ocr_assets.gpu.state_directory import StateError
from ocr_assets.instance import describe_storage
from ocr_assets.ocr.weights import WeightsError
from ocr_assets.plain_text import printable
from ocr_assets.resources.easyocr import EasyOCRResource

PACKAGES = ("ocr-assets", "dagster", "easyocr", "torch", "opencv-python-headless", "nvidia-ml-py")
WIDTH, HEIGHT = 1280, 720


@dataclass(frozen=True)
class Diagnosis:
    """The machine's state.

    Attributes:
        versions: Per package, Python included; `unknown` where none is recorded.
        torch: What PyTorch says of CUDA.
        state_directory: Where processes tell each other of their leases.
        weights: The folder of verified weights, None if there is none.
        runs: Where runs are recorded, for people.
        plan: What would run where; None if the state directory cannot be used.
        problems: What is wrong, in sentences.
    """

    versions: dict[str, str]
    torch: str
    state_directory: str
    weights: str | None
    runs: str
    plan: Plan | None
    problems: tuple[str, ...]

    @property
    def works(self) -> bool:
        """Whether frames can be detected on this machine at all."""
        return self.weights is not None and self.plan is not None and self.plan.slots_at_best > 0


def diagnose(easyocr: EasyOCRResource) -> Diagnosis:
    """Looks at everything; takes nothing and loads no model."""
    problems: list[str] = []
    plan = None
    try:
        plan = easyocr.plan(WIDTH, HEIGHT)
    except StateError as error:
        problems.append(str(error))
    if plan is not None:
        problems += plan.snapshot.problems
        for device in plan.devices:
            problems += device.state.problems
    torch, torch_problem = _torch(plan)
    weights, weights_problem = _weights(easyocr)
    runs, runs_problem = describe_storage()
    problems += [one for one in (torch_problem, weights_problem, runs_problem) if one]
    return Diagnosis(
        versions={"python": platform.python_version()}
        | {package: _version(package) for package in PACKAGES},
        torch=torch,
        state_directory=str(easyocr.policy().state_directory),
        weights=weights,
        runs=runs,
        plan=plan,
        problems=tuple(problems),
    )


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """The diagnosis as an object for `json.dumps`; sizes in bytes."""
    plan = diagnosis.plan
    return {
        "works": diagnosis.works,
        "versions": diagnosis.versions,
        "torch": diagnosis.torch,
        "driver_version": plan.snapshot.driver_version if plan else None,
        "state_directory": diagnosis.state_directory,
        "weights": diagnosis.weights,
        "runs": diagnosis.runs,
        "gpus": [dataclasses.asdict(gpu) for gpu in plan.snapshot.gpus] if plan else [],
        "slots_now": plan.slots_now if plan else 0,
        "slots_at_best": plan.slots_at_best if plan else 0,
        "plan": plan.sentence() if plan else None,
        "devices": [_device_json(device) for device in plan.devices] if plan else [],
        "problems": list(diagnosis.problems),
    }


def as_text(diagnosis: Diagnosis) -> str:
    """The diagnosis for people, a line each."""
    return "\n".join(map(printable, _lines(diagnosis)))


def _lines(diagnosis: Diagnosis) -> Iterator[str]:
    yield "versions  " + ", ".join(f"{name} {text}" for name, text in diagnosis.versions.items())
    yield f"torch     {diagnosis.torch}"
    yield f"weights   {diagnosis.weights or 'none'}" + (", verified" if diagnosis.weights else "")
    yield f"leases    in {diagnosis.state_directory}"
    yield f"runs      {diagnosis.runs}"
    if diagnosis.plan is not None:
        plan = diagnosis.plan
        yield f"driver    {plan.snapshot.driver_version or 'none'}"
        for gpu in plan.snapshot.gpus:
            yield f"{gpu.label:9} {_gpu(gpu)}"
        for device in plan.devices:
            yield from _leases(device.label, device.state)
        yield f"plan      {plan.sentence()} (frames of {WIDTH}x{HEIGHT})"
        for device in plan.devices:
            yield f"          {device.label}: {device.reason}"
    for problem in diagnosis.problems:
        yield f"note      {problem}"


def _gpu(gpu: Gpu) -> str:
    memory = (
        f"{gib(gpu.memory.total_bytes)}, {gib(gpu.memory.free_bytes)} free, "
        f"{gib(gpu.memory.used_bytes)} used"
        if gpu.memory
        else "memory unknown"
    )
    visible = "hidden from this process" if gpu.torch_index is None else f"cuda:{gpu.torch_index}"
    return f"{gpu.name}, {memory}, {visible}, {gpu.uuid}"


def _leases(label: str, state: LedgerState) -> Iterator[str]:
    for lease in (*state.leases, *state.draining):
        minutes = max(time.time() - lease.since, 0) / 60
        draining = ", draining" if lease.draining_since is not None else ""
        yield (
            f"lease     {label}: {gib(lease.size_bytes)} ({gib(lease.allocated_bytes)} allocated) "
            f"for {minutes:.0f} min{draining}: {lease.holder}"
        )
    if state.waiting_bytes:
        sizes = ", ".join(gib(size_bytes) for size_bytes in state.waiting_bytes)
        yield f"waiting   {label}: {sizes}"


def _device_json(device: DeviceSlots) -> dict[str, Any]:
    return {
        "label": device.label,
        "uuid": device.gpu.uuid if device.gpu else None,
        "held": device.held,
        "slots_now": device.now,
        "slots_at_best": device.at_best,
        "reason": device.reason,
        "leases": [dataclasses.asdict(lease) for lease in device.state.leases],
        "draining": [dataclasses.asdict(lease) for lease in device.state.draining],
        "waiting_bytes": list(device.state.waiting_bytes),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"  # imported from a folder that pip knows nothing of


def _torch(plan: Plan | None) -> tuple[str, str | None]:
    """What PyTorch says of CUDA, and what is wrong with that."""
    import torch

    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    said = f"{built}, sees {count} CUDA {'device' if count == 1 else 'devices'}"
    if plan is None or len(plan.snapshot.usable) <= count:
        return said, None
    return said, (
        f"NVML shows this process {len(plan.snapshot.usable)} to work on, but PyTorch, {said}; "
        "readers planned for GPUs that it does not see run on the CPU"
    )


def _weights(easyocr: EasyOCRResource) -> tuple[str | None, str | None]:
    model = dataclasses.replace(easyocr.model(), download_enabled=False)
    try:
        directory = model.locate_weights()
    except WeightsError as error:
        return None, str(error)
    return str(directory), None
