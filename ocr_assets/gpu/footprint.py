"""How much memory a text detector needs: an estimate first, corrected by measurement.

```python
footprint = Footprint.for_gpu(element_bytes=2)
footprint.bytes_for(pixels=1280 * 736, batch=4)
```

The estimate is

    weights + context + workspace + segments + pixels x batch x bytes_per_pixel

of which weights and bytes_per_pixel go with the size of a number: 4 bytes in fp32, 2 in bf16 and
fp16.

On a GPU the largest sum of live tensors in a pass of the network is that of its first layers: two
maps of 64 channels at full resolution and the picture, 2 x 64 x 4 + 3 x 4 = 524 bytes a pixel in
fp32; the profiler's record of all allocations on the CPU gives 524.1 to 524.6 at 640x384, 1280x736
and 1920x1088. PyTorch's allocator takes a little more, for what is between the blocks.

Measured on an H100 (CUDA 13.0, PyTorch 2.11), for 640x360, 1280x720 and 1920x1080 in batches of 1,
4, 8 and 16: 525 to 540 bytes a pixel in fp32, 277 to 294 in fp16, 293 to 307 in bf16 (of a single
frame of 640x360 more: 666, 410, 495); 619 MiB for a bare CUDA context, 695 with the kernels of
cuDNN and cuBLAS in it; 34 MiB for what cuBLAS keeps.

cuDNN tries fast kernels first, and some of those in fp32 want tens of GiB. The lease, which is also
the allocator's cap, refuses that, and cuDNN takes the next.

On the CPU the network works in bands and takes less: the resident memory of a process with PyTorch
and the loaded model is 900 to 1050 MiB, and grows by 370 to 410 bytes a pixel for each frame that
is worked on at the same time.
"""

from dataclasses import dataclass

from ocr_assets.gpu.sizes import MIB

CRAFT_WEIGHTS_BYTES = 80 * MIB  # 20.8 million parameters in fp32
RECOGNISER_BYTES = 512 * MIB  # weights and what reading a frame's boxes one by one takes
LIVE_BYTES_PER_PIXEL = 524
CONTEXT_BYTES = 720 * MIB  # with the libraries' kernels in it
CONTEXT_AT_LEAST_BYTES = 300 * MIB
WORKSPACE_BYTES = 48 * MIB
SEGMENTS_BYTES = 48 * MIB  # PyTorch takes 20 MiB at least, and not every batch divides them alike
FRAGMENTS = 1.25  # what the allocator takes, of the live tensors
CPU_PROCESS_BYTES = 1050 * MIB
CPU_BYTES_PER_PIXEL = 410
MARGIN = 1.1


@dataclass(frozen=True)
class Footprint:
    """What one reader takes.

    Attributes:
        fixed_bytes: What does not depend on the frames: weights, context, libraries' workspace.
        bytes_per_pixel: Activations of one canvas pixel.
        live_bytes_per_pixel: Of those, what no measurement may go below.
    """

    fixed_bytes: int
    bytes_per_pixel: float
    live_bytes_per_pixel: float

    @classmethod
    def for_gpu(cls, *, recognize: bool = False, element_bytes: int = 4) -> "Footprint":
        """Before anything was measured, on a GPU.

        Args:
            recognize: Whether text is read too.
            element_bytes: Of a number: 4 in fp32, 2 in bf16 and fp16.
        """
        scale = element_bytes / 4
        fixed = CONTEXT_BYTES + WORKSPACE_BYTES + SEGMENTS_BYTES
        fixed += RECOGNISER_BYTES if recognize else 0
        live = scale * LIVE_BYTES_PER_PIXEL
        return cls(int(fixed + scale * CRAFT_WEIGHTS_BYTES), FRAGMENTS * live, live)

    @classmethod
    def for_cpu(cls, *, recognize: bool = False) -> "Footprint":
        """Before anything was measured, on the CPU; the process itself included."""
        fixed = CPU_PROCESS_BYTES + (RECOGNISER_BYTES if recognize else 0)
        return cls(fixed, MARGIN * CPU_BYTES_PER_PIXEL, CPU_BYTES_PER_PIXEL)

    def bytes_for(self, pixels: int, batch: int = 1) -> int:
        """Bytes needed for batches of frames.

        Args:
            pixels: Pixels of one frame's canvas.
            batch: Frames at once.
        """
        return int(self.fixed_bytes + pixels * batch * self.bytes_per_pixel)

    def batch_for(self, size_bytes: int, pixels: int) -> int:
        """The largest batch that `size_bytes` cover; 0 if not even one frame."""
        one = self.bytes_for(pixels, 1)
        return max(int((size_bytes - self.fixed_bytes) / (one - self.fixed_bytes)), 0)

    def corrected(self, loaded_bytes: int, peak_bytes: int, batch_pixels: int) -> "Footprint":
        """The same, fitted to what a batch really took, with a margin of a tenth.

        No less than the live tensors: a batch may have found room in what was taken before.

        Args:
            loaded_bytes: What was taken before the first batch, the CUDA context included.
            peak_bytes: The most that was taken in the batch, the context included.
            batch_pixels: Canvas pixels of all its frames.
        """
        activations = max(peak_bytes - loaded_bytes, 0) / batch_pixels
        live = self.live_bytes_per_pixel
        fixed = loaded_bytes + SEGMENTS_BYTES
        return Footprint(fixed, MARGIN * max(activations, live), live)
