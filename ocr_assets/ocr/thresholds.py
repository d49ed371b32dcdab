"""EasyOCR's parameters of detection."""

import dataclasses
import math
from dataclasses import dataclass

MULTIPLE = 32  # the network halves the sides five times


@dataclass(frozen=True)
class DetectionThresholds:
    """EasyOCR's detection parameters, with its defaults, by its names.

    Attributes:
        min_size: Boxes with both sides at most this many pixels are dropped.
        text_threshold: Least text score of a piece of text's strongest pixel, in [0, 1].
        low_text: Least text score of its other pixels, in [0, 1].
        link_threshold: Least link score that joins letters, in [0, 1].
        canvas_size: Frames whose longer side has more pixels are scaled down to it.
        mag_ratio: Scale applied to a frame before detection, up to canvas_size.
        slope_ths: Steepest slope of a box that counts as upright.
        ycenter_ths: Most vertical distance of boxes joined to a line, in box heights.
        height_ths: Most difference in height of boxes joined, in box heights.
        width_ths: Most horizontal distance of boxes joined, in box heights.
        add_margin: Margin added around each box, in box heights.
    """

    min_size: int = 20
    text_threshold: float = 0.7
    low_text: float = 0.4
    link_threshold: float = 0.4
    canvas_size: int = 2560
    mag_ratio: float = 1.0
    slope_ths: float = 0.1
    ycenter_ths: float = 0.5
    height_ths: float = 0.5
    width_ths: float = 0.5
    add_margin: float = 0.1

    def __post_init__(self) -> None:
        """Refuses NaN, which no score reaches: every frame would pass for one without text."""
        for name, value in dataclasses.asdict(self).items():
            if not math.isfinite(value):
                raise ValueError(f"{name} {value} is not a finite number")

    def scale(self, width: int, height: int) -> float:
        """Canvas pixels per pixel of a frame of that size (EasyOCR's `resize_aspect_ratio`)."""
        longer = max(width, height)
        return min(self.mag_ratio * longer, self.canvas_size) / longer

    def canvas_shape(self, width: int, height: int) -> tuple[int, int]:
        """Height and width of what the network sees of a frame of that size, in pixels.

        The frame is scaled, and its sides are padded to multiples of 32.
        """
        scale = self.scale(width, height)
        rows, columns = (
            -(-max(int(side * scale), 1) // MULTIPLE) * MULTIPLE for side in (height, width)
        )
        return rows, columns

    def canvas_pixels(self, width: int, height: int) -> int:
        """Pixels that the network sees of a frame of that size in pixels."""
        rows, columns = self.canvas_shape(width, height)
        return rows * columns
