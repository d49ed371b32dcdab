"""All that makes a detector, to be taken to another process or host."""

from dataclasses import dataclass, replace
from pathlib import Path

from ocr_assets import settings
from ocr_assets.gpu.placement import PlacementPolicy
from ocr_assets.gpu.slots import Plan, make_plan
from ocr_assets.ocr.detector import ModelSettings
from ocr_assets.ocr.reader import Sizing
from ocr_assets.ocr.reader_pool import ReaderPool
from ocr_assets.ocr.thresholds import DetectionThresholds


@dataclass(frozen=True)
class DetectorSettings:
    """What `EasyOCRResource` says, without Dagster.

    Attributes:
        model: Which model.
        sizing: How large a reader is on a GPU.
        policy: Where readers may go.
        thresholds: EasyOCR's parameters.
        is_state_shared: Whether the policy's state directory is the same on every host; otherwise
            each has its own.
    """

    model: ModelSettings
    sizing: Sizing
    policy: PlacementPolicy
    thresholds: DetectionThresholds
    is_state_shared: bool

    def on_this_host(self, *, on_gpu: bool = True) -> "DetectorSettings":
        """The same for the host that it has come to.

        Args:
            on_gpu: Whether a GPU may be used.
        """
        policy = self.policy
        if not self.is_state_shared:
            policy = replace(policy, state_directory=Path(settings.state_directory()))
        if not on_gpu:
            policy = replace(policy, device="cpu", when_gpu_full="auto")
        return replace(self, policy=policy)

    def plan(self, pool: ReaderPool, width: int = 1280, height: int = 720) -> Plan:
        """How many readers fit here, for frames of that size in pixels.

        Args:
            pool: The process's readers, which know by now what one takes.
            width: Of a frame.
            height: Of a frame.

        Raises:
            StateError: The state directory cannot be used.
        """
        pixels = self.thresholds.canvas_pixels(width, height)
        return make_plan(
            self.policy,
            self.sizing.gpu_sizes_bytes(pool.footprint(self.model, on_cpu=False), pixels),
            pool.footprint(self.model, on_cpu=True).bytes_for(pixels),
        )
