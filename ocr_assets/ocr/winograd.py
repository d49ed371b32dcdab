"""3x3 convolution on the CPU with a quarter of the multiplications, by Winograd's F(4x4, 3x3).

A tile of 4x4 outputs Y is computed from the 6x6 inputs d around it as

    Y = A^T [(G g G^T) * (B^T d B)] A

with the product * taken element by element, so that over all channels it is 36 matrix products in
place of the 144 multiplications of the plain sum. The matrices B, G and A are those of Lavin and
Gray, "Fast Algorithms for Convolutional Neural Networks" (2015). Rounding grows a little: on
CRAFT's score maps the largest difference to the plain sum in fp32 is a few millionths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

TILE = 4  # outputs along a side
REACH = TILE + 2  # inputs along a side
# Tiles whose products are taken together: enough to keep a core busy, few enough for its cache.
TILES_AT_ONCE = 320

G = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)

ReadRows = Callable[[int, int], "Tensor"]


class WinogradConvolution:
    """A 3x3 convolution with stride 1 and a border of zeros, then a bias, then maybe ReLU."""

    def __init__(self, weight: Tensor, bias: Tensor, *, relu: bool) -> None:
        """Transforms the weights.

        Args:
            weight: float64, (out channels, in channels, 3, 3).
            bias: float64, (out channels,).
            relu: Whether negative outputs become 0.
        """
        import torch

        g = torch.tensor(G, dtype=torch.float64)
        self.out_channels, self.in_channels = weight.shape[:2]
        transformed = torch.einsum("ia,ocab,jb->ijco", g, weight, g)
        self._weight = transformed.reshape(REACH**2, self.in_channels, self.out_channels).float()
        self._bias = bias.float()
        self._relu = relu

    def __call__(self, x: Tensor) -> Tensor:
        """The convolution of (n, height, width, in channels); the same with out channels."""
        n, height, width, _ = x.shape
        out = x.new_empty(n, height, width, self.out_channels)
        for image, filled in zip(x, out, strict=True):
            for top, band in self.bands(lambda a, b, image=image: image[a:b], height, width):  # type: ignore[misc]
                filled[top : top + len(band)] = band
        return out

    def bands(self, read: ReadRows, height: int, width: int) -> Iterator[tuple[int, Tensor]]:
        """The convolution of one image, some rows at a time.

        Args:
            read: Gives the rows from one number up to another: (rows, width, in channels).
            height: Rows of the image.
            width: Columns of the image.

        Yields:
            The number of the first row, and the rows: (rows, width, out channels), good until the
            next are asked for.
        """
        import torch

        across = -(-width // TILE)
        down = -(-height // TILE)
        most = min(down, max(1, TILES_AT_ONCE * torch.get_num_threads() // across))
        work = _Work(self._weight, most, across)
        for first in range(0, down, most):
            count = min(most, down - first)
            top, bottom = first * TILE, min((first + count) * TILE, height)
            work.load(read, top, bottom, height, width)
            band = work.convolve(self._weight, self._bias, count)
            if self._relu:
                band.relu_()
            yield top, band[: bottom - top, :width]


class _Work:
    """Memory for one band of tiles at a time."""

    def __init__(self, weight: Tensor, down: int, across: int) -> None:
        _, channels, out_channels = weight.shape
        new = weight.new_empty
        padded = across * TILE + 2
        # Columns beyond the image stay zero; rows are set with every band.
        self._rows = weight.new_zeros(down * TILE + 2, padded, channels)
        self._half_in = new(REACH, down, padded, channels)
        self._in = new(REACH, REACH, down, across, channels)
        self._product = new(REACH, REACH, down, across, out_channels)
        self._half_out = new(TILE, REACH, down, across, out_channels)
        self._out = new(down, TILE, across, TILE, out_channels)
        self._spare = [new(self._half_in[0].numel()) for _ in range(2)]
        larger = max(self._in[0].numel(), self._product[0].numel())
        if larger > self._spare[0].numel():
            self._spare = [new(larger) for _ in range(2)]

    def load(self, read: ReadRows, top: int, bottom: int, height: int, width: int) -> None:
        """Takes the rows around those from `top` to `bottom`, zeros beyond the image."""
        begin, end = max(top - 1, 0), min(bottom + 1, height)
        offset = begin - (top - 1)
        self._rows[:offset] = 0
        self._rows[offset : offset + end - begin, 1 : width + 1] = read(begin, end)
        self._rows[offset + end - begin :] = 0

    def convolve(self, weight: Tensor, bias: Tensor, count: int) -> Tensor:
        """The rows of the first `count` rows of tiles: (4 count, 4 across, out channels)."""
        import torch

        half_in, into = self._half_in[:, :count], self._in[:, :, :count]
        product, half_out = self._product[:, :, :count], self._half_out[:, :, :count]
        out = self._out[:count]
        if count < self._in.shape[2]:
            # Matrix products want whole memory; the last band may be a shorter one.
            into, product = (
                torch.empty_like(one, memory_format=torch.contiguous_format)
                for one in (into, product)
            )
        across = into.shape[3]
        _into_tiles(
            [self._rows[i : i + TILE * (count - 1) + 1 : TILE] for i in range(REACH)],
            list(half_in),
            self._spare,
        )
        _into_tiles(
            [half_in[:, :, j : j + TILE * (across - 1) + 1 : TILE] for j in range(REACH)],
            [into[:, j] for j in range(REACH)],
            self._spare,
        )
        tiles = count * across
        torch.bmm(into.view(REACH**2, tiles, -1), weight, out=product.view(REACH**2, tiles, -1))
        # What is added to this one of the 36 appears in all 16 outputs.
        product[1, 1] += bias
        _out_of_tiles([product[:, j] for j in range(REACH)], list(half_out), self._spare)
        _out_of_tiles(
            [half_out[:, i] for i in range(REACH)],
            [out[:, i].permute(2, 0, 1, 3) for i in range(TILE)],
            self._spare,
        )
        return out.view(count * TILE, across * TILE, -1)


def _into_tiles(d: Sequence[Tensor], out: Sequence[Tensor], spare: Sequence[Tensor]) -> None:
    """B^T along one side: six of inputs to six."""
    import torch

    a, b = (one[: d[0].numel()].view(d[0].shape) for one in spare)
    torch.sub(d[4], d[2], out=a)
    torch.sub(d[0], d[2], out=b)
    torch.add(a, b, alpha=4, out=out[0])  # 4 d0 - 5 d2 + d4
    torch.sub(d[3], d[1], out=b)
    torch.add(a, b, alpha=2, out=out[3])  # -2 d1 - d2 + 2 d3 + d4
    torch.sub(a, b, alpha=2, out=out[4])  # 2 d1 - d2 - 2 d3 + d4
    torch.sub(d[5], d[3], out=a)
    torch.sub(a, b, alpha=4, out=out[5])  # 4 d1 - 5 d3 + d5
    torch.sub(d[4], d[2], alpha=4, out=a)
    torch.sub(d[3], d[1], alpha=4, out=b)
    torch.add(a, b, out=out[1])  # -4 d1 - 4 d2 + d3 + d4
    torch.sub(a, b, out=out[2])  # 4 d1 - 4 d2 - d3 + d4


def _out_of_tiles(m: Sequence[Tensor], out: Sequence[Tensor], spare: Sequence[Tensor]) -> None:
    """A^T along one side: six products to four outputs."""
    import torch

    a, b = (one[: m[0].numel()].view(m[0].shape) for one in spare)
    torch.add(m[1], m[2], out=a)
    torch.add(m[3], m[4], out=b)
    torch.add(m[0], a, out=out[0])
    out[0].add_(b)  # m0 + m1 + m2 + m3 + m4
    torch.add(a, b, alpha=4, out=out[2])  # m1 + m2 + 4 m3 + 4 m4
    torch.sub(m[1], m[2], out=a)
    torch.sub(m[3], m[4], out=b)
    torch.add(a, b, alpha=2, out=out[1])  # m1 - m2 + 2 m3 - 2 m4
    torch.add(a, b, alpha=8, out=out[3])
    out[3].add_(m[5])  # m1 - m2 + 8 m3 - 8 m4 + m5
