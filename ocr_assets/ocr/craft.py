"""CRAFT, the network that EasyOCR finds text with, arranged for speed.

```python
network = Craft(read_weights(Path("craft_mlt_25k.pth")), device="cpu", number_format="fp32")
maps = network.score_maps(torch.zeros(1, 736, 1280, 3, dtype=torch.uint8))  # (1, 368, 640, 2)
```

It computes what EasyOCR's module computes from the same weights (Baek et al., "Character Region
Awareness for Text Detection", 2019), with less work:

- Batch normalisation is folded into the convolution before it.
- Three linear layers in a row, from the dilated convolution on, are folded into one.
- A 1x1 convolution of two stacked maps, one of them scaled up, is the sum of two smaller ones, one
  of which comes before the scaling.
- In fp32 on the CPU, 3x3 convolutions are Winograd's, and the first two layers work in bands of
  rows, so that no map of full resolution is ever whole.
- On a GPU bias and ReLU are part of the convolution, and the largest of 2x2 is taken without noting
  where it was: each of these would read and write a whole map.

Tensors are (n, height, width, channels) throughout: what PyTorch calls `channels_last`. In fp32 on
a GPU a convolution's are (n, channels, height, width) in memory: cuDNN's kernels would copy others.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ocr_assets.ocr.weights import read_verified
from ocr_assets.ocr.winograd import WinogradConvolution

if TYPE_CHECKING:
    from torch import Tensor, device, dtype, memory_format

NumberFormat = Literal["fp32", "bf16", "fp16"]
Layer = Callable[["Tensor"], "Tensor"]

MEAN = (0.485, 0.456, 0.406)  # of the pictures that the network was trained on, per channel
DEVIATION = (0.229, 0.224, 0.225)
BATCH_NORM_EPSILON = 1e-5
DILATION = 6

# VGG-16's convolutions, in the order of the data; each is followed by its batch normalisation.
FULL = ("slice1.0", "slice1.3")
HALF = ("slice1.7", "slice1.10")
QUARTER = ("slice2.14", "slice2.17", "slice3.20")
EIGHTH = ("slice3.24", "slice3.27", "slice4.30")
SIXTEENTH = ("slice4.34", "slice4.37")


def read_weights(path: Path) -> dict[str, Tensor]:
    """EasyOCR's state dictionary of the network, from its file.

    Raises:
        WeightsError: It is not the published file.
    """
    import torch

    content = io.BytesIO(read_verified(path))
    stored: dict[str, Tensor] = torch.load(content, map_location="cpu", weights_only=True)
    return {name.removeprefix("module."): tensor for name, tensor in stored.items()}


class Craft:
    """The network on one device; threads may share it.

    Attributes:
        winograd: Whether convolutions may be Winograd's, where that is faster.
    """

    winograd = True

    def __init__(
        self, weights: Mapping[str, Tensor], device: str, number_format: NumberFormat
    ) -> None:
        """Folds the weights and takes them to the device.

        Args:
            weights: From `read_weights`.
            device: PyTorch's name of the device.
            number_format: Of weights and activations.
        """
        import torch

        self._device = torch.device(device)
        self._dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[
            number_format
        ]
        if device != "cpu" and number_format == "fp32":
            # fp32 is to mean fp32 in this process: by itself cuDNN rounds to TF32 with its 10 bits.
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        self._winograd = self.winograd and device == "cpu" and number_format == "fp32"
        self._layout = (
            torch.contiguous_format
            if device != "cpu" and number_format == "fp32"
            else torch.channels_last
        )
        self._fused = device != "cpu" and _fuses_relu(self._device, self._dtype, self._layout)
        self._mean, self._deviation = (
            torch.tensor([255 * value for value in values], device=self._device)
            for values in (MEAN, DEVIATION)
        )
        fold = _Folding(weights)
        self._vgg: dict[str, Layer] = {}
        for name in (*FULL, *HALF, *QUARTER, *EIGHTH, *SIXTEENTH):
            relu = name != SIXTEENTH[-1]
            self._vgg[name] = self._layer(*fold.normalised(f"basenet.{name}"), relu=relu)
        self._context, self._up = self._decoder(fold)
        self._classify = [
            self._layer(*fold.plain(f"conv_cls.{index}"), relu=index != 8)
            for index in (0, 2, 4, 6, 8)
        ]
        if device != "cpu":
            # What the libraries keep for good is taken now: later it would break up a large block
            # of PyTorch's, in whose stead the next batch would need another.
            self.score_maps(torch.zeros(1, 32, 32, 3, dtype=torch.uint8))

    def score_maps(self, canvases: Tensor) -> Tensor:
        """The score of each 2x2 pixels for being the middle of a letter, or between two.

        Args:
            canvases: uint8, (n, height, width, 3), RGB, on any device; the sides are multiples of
                32.

        Returns:
            float32, (n, height / 2, width / 2, 2), on the network's device: text and link score.
            On a GPU the work may not be done yet when this returns.
        """
        import torch

        with torch.inference_mode():
            x = canvases.to(self._device, non_blocking=True).float()
            x = x.sub_(self._mean).div_(self._deviation).to(self._dtype)
            x = self._begin(x)
            half = self._through(HALF, x)
            quarter = self._through(QUARTER[:2], _pooled(half))
            eighth = self._through(EIGHTH[:2], _pooled(self._vgg[QUARTER[2]](quarter)))
            sixteenth = self._through(SIXTEENTH, _pooled(self._vgg[EIGHTH[2]](eighth)))
            # The stacked maps before the first 1x1 convolution have one size: nothing is scaled.
            x = self._context(_smoothed(sixteenth))
            for (small, large, refine), skipped in zip(
                self._up, (sixteenth, eighth, quarter, half), strict=True
            ):
                x = refine(_scaled_sum(small(x) if small else x, large(skipped)))
            for layer in self._classify:
                x = layer(x)
            return x.float()

    def _begin(self, x: Tensor) -> Tensor:
        """The layers of full resolution, and the scaling down after them."""
        first, second = (self._vgg[name] for name in FULL)
        if not isinstance(second, WinogradConvolution):
            return _pooled(second(first(x)))
        n, height, width, _ = x.shape
        out = x.new_empty(n, height // 2, width // 2, second.out_channels)
        for image, pooled in zip(x, out, strict=True):

            def rows(begin: int, end: int, image: Tensor = image) -> Tensor:
                # With a neighbour on each side, so that the border of zeros is the image's own.
                above = max(begin - 1, 0)
                return first(image[None, above : end + 1])[0, begin - above : end - above]

            for top, band in second.bands(rows, height, width):
                pooled[top // 2 : (top + len(band)) // 2] = _pooled(band[None])[0]
        return out

    def _through(self, names: tuple[str, ...], x: Tensor) -> Tensor:
        for name in names:
            x = self._vgg[name](x)
        return x

    def _decoder(self, fold: _Folding) -> tuple[Layer, list[tuple[Layer | None, Layer, Layer]]]:
        """The layer after VGG, and the four that combine maps of rising resolution."""
        up: list[tuple[Layer | None, Layer, Layer]] = []
        context: Layer | None = None
        channels = {1: 1024, 2: 256, 3: 128, 4: 64}
        for number, below in channels.items():
            weight, bias = fold.normalised(f"upconv{number}.conv.0")
            refine = self._layer(*fold.normalised(f"upconv{number}.conv.3"), relu=True)
            from_below, from_skipped = weight[:, :below], weight[:, below:]
            large = self._layer(from_skipped, bias, relu=False)
            if context is None:
                context = self._layer(*fold.context(from_below), relu=False, dilation=DILATION)
                up.append((None, large, refine))
            else:
                small = self._layer(from_below, bias.new_zeros(len(bias)), relu=False)
                up.append((small, large, refine))
        assert context is not None
        return context, up

    def _layer(self, weight: Tensor, bias: Tensor, *, relu: bool, dilation: int = 1) -> Layer:
        out_channels, in_channels, side, _ = weight.shape
        if side == 1:
            return _Pointwise(
                weight[:, :, 0, 0].to(self._device, self._dtype),
                bias.to(self._device, self._dtype),
                relu=relu,
            )
        # Of three channels, or to few, the transforms would cost more than they save.
        if not self._winograd or in_channels < 16 or out_channels < 16:
            return _Direct(
                weight.to(self._device, self._dtype),
                bias.to(self._device, self._dtype),
                self._layout,
                relu=relu,
                fused=self._fused,
                dilation=dilation,
            )
        convolution = WinogradConvolution(weight, bias, relu=relu)
        return convolution if dilation == 1 else _Dilated(convolution, dilation)


class _Pointwise:
    """A 1x1 convolution, which is a matrix product, then a bias, then maybe ReLU."""

    def __init__(self, weight: Tensor, bias: Tensor, *, relu: bool) -> None:
        self._weight = weight.contiguous()
        self._bias = bias
        self._relu = relu

    def __call__(self, x: Tensor) -> Tensor:
        from torch.nn.functional import linear

        out = linear(x, self._weight, self._bias)
        return out.relu_() if self._relu else out


class _Direct:
    """A 3x3 convolution that keeps the size, then a bias, then maybe ReLU."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        layout: memory_format,
        *,
        relu: bool,
        fused: bool,
        dilation: int,
    ) -> None:
        self._weight = weight.contiguous(memory_format=layout)
        self._bias = bias
        self._layout = layout
        self._relu = relu
        self._fused = relu and fused
        self._dilation = dilation

    def __call__(self, x: Tensor) -> Tensor:
        import torch

        x = _channels_first(x).contiguous(memory_format=self._layout)
        around = [self._dilation, self._dilation]
        if self._fused:
            return _channels_last(
                torch.cudnn_convolution_relu(x, self._weight, self._bias, (1, 1), around, around, 1)
            )
        out = torch.conv2d(x, self._weight, self._bias, padding=around, dilation=around)
        return _channels_last(out.relu_() if self._relu else out)


class _Dilated:
    """A dilated convolution by way of a plain one.

    The pixels whose row and column leave the same remainders make up a small image of their own.
    All small images are put below each other, with a row of zeros between them.
    """

    def __init__(self, convolution: Layer, dilation: int) -> None:
        self._convolution = convolution
        self._dilation = dilation

    def __call__(self, x: Tensor) -> Tensor:
        from torch.nn.functional import pad

        d = self._dilation
        n, height, width, channels = x.shape
        down, across = -(-height // d), -(-width // d)
        x = pad(x, (0, 0, 0, across * d - width, 0, down * d - height))
        x = x.view(n, down, d, across, d, channels).permute(0, 2, 4, 1, 3, 5)
        small = pad(x, (0, 0, 0, 0, 0, 1)).reshape(n, d * d * (down + 1), across, channels)
        out = self._convolution(small).view(n, d, d, down + 1, across, -1)[:, :, :, :down]
        out = out.permute(0, 3, 1, 4, 2, 5).reshape(n, down * d, across * d, -1)
        return out[:, :height, :width]


class _Folding:
    """Weights and biases in float64, with what is linear around a convolution made part of it."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights

    def plain(self, name: str) -> tuple[Tensor, Tensor]:
        """A convolution's own."""
        return self._get(name, "weight"), self._get(name, "bias")

    def normalised(self, name: str) -> tuple[Tensor, Tensor]:
        """A convolution and the batch normalisation after it."""
        weight, bias = self.plain(name)
        head, _, index = name.rpartition(".")
        norm = f"{head}.{int(index) + 1}"
        deviation = (self._get(norm, "running_var") + BATCH_NORM_EPSILON).sqrt()
        scale = self._get(norm, "weight") / deviation
        shift = self._get(norm, "bias") - self._get(norm, "running_mean") * scale
        return weight * scale[:, None, None, None], bias * scale + shift

    def context(self, after: Tensor) -> tuple[Tensor, Tensor]:
        """The dilated convolution, the 1x1 after it, and another 1x1 (without bias) after that."""
        weight, bias = self.plain("basenet.slice5.1")
        inner, inner_bias = self.plain("basenet.slice5.2")
        both = after[:, :, 0, 0] @ inner[:, :, 0, 0]
        folded_bias = both @ bias + after[:, :, 0, 0] @ inner_bias
        return (both @ weight.flatten(1)).view(-1, *weight.shape[1:]), folded_bias

    def _get(self, name: str, kind: str) -> Tensor:
        return self._weights[f"{name}.{kind}"].double()


def _fuses_relu(device: device, dtype: dtype, layout: memory_format) -> bool:
    """Whether cuDNN has convolutions with bias and ReLU in them for this GPU; found out by trying.

    Raises:
        torch.OutOfMemoryError: Not even for that there is memory.
    """
    import torch

    try:
        for channels in (3, 64):
            x = torch.zeros(1, channels, 32, 32, device=device, dtype=dtype)
            weight = torch.zeros(64, channels, 3, 3, device=device, dtype=dtype)
            torch.cudnn_convolution_relu(
                x.contiguous(memory_format=layout),
                weight.contiguous(memory_format=layout),
                torch.zeros(64, device=device, dtype=dtype),
                *((1, 1), (1, 1), (1, 1), 1),
            )
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        return False  # should CUDA itself be broken, the next call says so
    return True


def _channels_first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def _channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def _pooled(x: Tensor) -> Tensor:
    """The largest of each 2x2; the sides are even."""
    from torch.nn.functional import max_pool2d

    if x.is_cuda:
        # There, max_pool2d notes where each came from, in 8 bytes, whether anybody asks or not.
        n, height, width, channels = x.shape
        return x.view(n, height // 2, 2, width // 2, 2, channels).amax((2, 4))
    return _channels_last(max_pool2d(_channels_first(x), 2))


def _smoothed(x: Tensor) -> Tensor:
    """The largest of the 3x3 around each."""
    from torch.nn.functional import max_pool2d

    return _channels_last(max_pool2d(_channels_first(x), 3, stride=1, padding=1))


def _scaled_sum(small: Tensor, large: Tensor) -> Tensor:
    """ReLU of the sum, after the small map was scaled to the size of the large one, which it is
    written into.
    """
    from torch.nn.functional import interpolate

    if small.shape != large.shape:
        scaled = interpolate(
            _channels_first(small), size=large.shape[1:3], mode="bilinear", align_corners=False
        )
        small = _channels_last(scaled)
    return large.add_(small).relu_()
