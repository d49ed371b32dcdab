"""What the benchmark runs on."""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

from ocr_assets.gpu.host import usable_cores

BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16", "svebf16"}


@dataclass(frozen=True)
class Machine:
    """A machine, as far as it matters to the figures.

    Attributes:
        cpu: The processor's name.
        cores: Cores that the benchmark may use.
        memory_bytes: Of the whole machine.
        bfloat16: The CPU's instructions for bfloat16; none: it has to compute it otherwise.
        load: Average number of running processes over the last minute, before the benchmark.
        versions: Of what computes.
    """

    cpu: str
    cores: int
    memory_bytes: int
    bfloat16: list[str]
    load: float
    python: str
    versions: dict[str, str]


def describe_machine() -> Machine:
    """This one; without importing torch, whose pages would be shared with what is measured."""
    cpu_info = Path("/proc/cpuinfo").read_text()
    return Machine(
        cpu=cpu_name(cpu_info) or platform.processor() or platform.machine(),
        cores=usable_cores(),
        memory_bytes=psutil.virtual_memory().total,
        bfloat16=bfloat16_flags(cpu_info),
        load=os.getloadavg()[0],
        python=platform.python_version(),
        versions={
            name: version(name)
            for name in ("torch", "easyocr", "opencv-python-headless", "av", "numpy")
        },
    )


def cpu_name(cpu_info: str) -> str | None:
    """The first `model name` of /proc/cpuinfo."""
    for line in cpu_info.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return None


def bfloat16_flags(cpu_info: str) -> list[str]:
    """Which of the CPU's flags in /proc/cpuinfo mean multiplication in bfloat16."""
    for line in cpu_info.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return sorted(BFLOAT16_FLAGS & set(value.split()))
    return []


def machine_lines(machine: Machine) -> list[str]:
    """To print on top."""
    bfloat16 = ", ".join(machine.bfloat16) if machine.bfloat16 else "this CPU has none"
    return [
        f"CPU       {machine.cpu}, {machine.cores} cores to use",
        f"memory    {machine.memory_bytes / 2**30:.1f} GiB",
        f"bfloat16  in hardware: {bfloat16}",
        f"load      {machine.load:.2f} running processes in the last minute",
        f"Python    {machine.python}; "
        + ", ".join(f"{name} {number}" for name, number in machine.versions.items()),
    ]
