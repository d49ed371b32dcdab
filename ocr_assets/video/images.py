"""Frames as losslessly compressed images that any tool can show."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WEBP_MAX_PIXELS_A_SIDE = 16383


@dataclass(frozen=True)
class EncodedImage:
    """A compressed image: the bytes of a file, and its format, `webp` or `png`."""

    data: bytes
    format: str


def encode_image(rgb: NDArray[np.uint8]) -> EncodedImage:
    """Compresses a picture without loss: WebP, or PNG where it is too large for WebP.

    Args:
        rgb: uint8, (height, width, 3), RGB.
    """
    image = Image.fromarray(rgb)
    buffer = io.BytesIO()
    if max(image.size) <= WEBP_MAX_PIXELS_A_SIDE:
        # For lossless WebP, quality and method say how hard to try, not how much to lose.
        image.save(buffer, "webp", lossless=True, quality=0, method=0)
        return EncodedImage(buffer.getvalue(), "webp")
    image.save(buffer, "png", compress_level=1)
    return EncodedImage(buffer.getvalue(), "png")


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """The picture in an image file's bytes: uint8, (height, width, 3), RGB.

    Raises:
        ValueError: The bytes are not an image.
    """
    import cv2  # here, since the processes that only encode do without it

    rgb = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    if rgb is None:
        raise ValueError(f"{len(data)} bytes that are not an image")
    return rgb.astype(np.uint8, copy=False)
