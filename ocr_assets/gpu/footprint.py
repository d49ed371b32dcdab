"""How much memory a text detector needs: an estimate first, corrected by measurement.

```python
footprint = Footprint.for_gpu()
footprint.bytes_for(pixels=1280 * 736, batch=4, precision="fp32")
```

The estimate is

    weights + context + workspace + pixels x batch x bytes_per_pixel x (element size / 4)

The largest sum of live tensors in a pass of CRAFT is that of its first layers: three maps of 64
channels at full resolution, 3 x 64 x 4 = 768 bytes a pixel in fp32. The profiler's record of all
allocations on the CPU gives 768.1 to 768.6 at 640x384, 1280x736, 1920x1088 and in batches. On the
CPU the resident memory of a process with PyTorch, EasyOCR and the loaded model is 860 MiB, and
grows by 773 to 779 bytes a pixel from 1280x736 up.

No GPU was at hand for the GPU's constants, so they are conservative: one and a half times the live
tensors, for what the caching allocator loses to fragments; 512 MiB for a CUDA context (300 to
500 MB are common); 256 MiB for cuDNN. The first batch on a real GPU corrects them.
"""

from dataclasses import dataclass
from typing import Literal

from ocr_assets.gpu.sizes import MIB

Precision = Literal["fp32", "bf16", "fp16"]

ELEMENT_BYTES: dict[Precision, int] = {"fp32": 4, "bf16": 2, "fp16": 2}
CRAFT_WEIGHTS_BYTES = 80 * MIB  # 20.8 million parameters in fp32
RECOGNISER_BYTES = 512 * MIB  # weights and what reading a frame's boxes one by one takes
LIVE_BYTES_PER_PIXEL = 768
CONTEXT_BYTES = 512 * MIB
CONTEXT_AT_LEAST_BYTES = 300 * MIB
WORKSPACE_BYTES = 256 * MIB
CPU_PROCESS_BYTES = 860 * MIB
MARGIN = 1.1


@dataclass(frozen=True)
class Footprint:
    """What one reader takes.

    Attributes:
        weights_bytes: The model's parameters in fp32.
        fixed_bytes: What does not depend on the frames: CUDA context, libraries' workspace.
        bytes_per_pixel: Activations of one canvas pixel in fp32.
    """

    weights_bytes: int
    fixed_bytes: int
    bytes_per_pixel: float

    @classmethod
    def for_gpu(cls, *, recognize: bool = False) -> "Footprint":
        """Before anything was measured, on a GPU."""
        fixed = CONTEXT_BYTES + WORKSPACE_BYTES + (RECOGNISER_BYTES if recognize else 0)
        return cls(CRAFT_WEIGHTS_BYTES, fixed, 1.5 * LIVE_BYTES_PER_PIXEL)

    @classmethod
    def for_cpu(cls, *, recognize: bool = False) -> "Footprint":
        """Before anything was measured, on the CPU; the process itself included."""
        fixed = CPU_PROCESS_BYTES + (RECOGNISER_BYTES if recognize else 0)
        return cls(0, fixed, MARGIN * LIVE_BYTES_PER_PIXEL)

    def bytes_for(self, pixels: int, batch: int = 1, precision: Precision = "fp32") -> int:
        """Bytes needed for batches of frames.

        Args:
            pixels: Pixels of one frame's canvas (see `canvas_pixels`).
            batch: Frames at once.
            precision: Of weights and activations.
        """
        scale = ELEMENT_BYTES[precision] / 4
        activations = pixels * batch * self.bytes_per_pixel
        return int(self.fixed_bytes + scale * (self.weights_bytes + activations))

    def batch_for(self, size_bytes: int, pixels: int, precision: Precision = "fp32") -> int:
        """The largest batch that `size_bytes` cover; 0 if not even one frame."""
        one = self.bytes_for(pixels, 1, precision)
        none = self.bytes_for(pixels, 0, precision)
        return max(int((size_bytes - none) / (one - none)), 0) if one > none else 0

    def corrected(
        self,
        loaded_bytes: int,
        peak_bytes: int,
        batch_pixels: int,
        precision: Precision = "fp32",
    ) -> "Footprint":
        """The same, fitted to what a batch really took, with a margin of a tenth.

        No less than the live tensors: a batch may have found room in what was taken before.

        Args:
            loaded_bytes: What was taken before the first batch, the CUDA context included.
            peak_bytes: The most that was taken in the batch, the context included.
            batch_pixels: Canvas pixels of all its frames.
            precision: Of weights and activations.
        """
        scale = ELEMENT_BYTES[precision] / 4
        activations = max(peak_bytes - loaded_bytes, 0)
        return Footprint(
            weights_bytes=0,  # part of what was loaded
            fixed_bytes=loaded_bytes,
            bytes_per_pixel=MARGIN
            * max(activations / (scale * batch_pixels), LIVE_BYTES_PER_PIXEL),
        )


def canvas_pixels(width: int, height: int, *, canvas_size: int, mag_ratio: float) -> int:
    """Pixels that the network sees of a frame, by EasyOCR's `resize_aspect_ratio`.

    The frame is scaled by `mag_ratio`, but to at most `canvas_size` pixels on its longer side, and
    its sides are padded to multiples of 32.
    """
    longer = max(width, height)
    ratio = min(mag_ratio * longer, canvas_size) / longer
    sides = (-(-max(int(side * ratio), 1) // 32) * 32 for side in (width, height))
    padded_width, padded_height = sides
    return padded_width * padded_height
