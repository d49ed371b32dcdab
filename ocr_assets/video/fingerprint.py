"""The identity of a file's content, and of a picture."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def fingerprint(path: str | Path) -> str:
    """A stable id of a file's content: equal files, and only they, have equal ids.

    Returns:
        32 hexadecimal digits (BLAKE2b, 128 bits).

    Raises:
        OSError: The file cannot be read.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, content_digest).hexdigest()


def content_digest() -> hashlib.blake2b:
    """What gives the fingerprint of a content that is read piece by piece."""
    return hashlib.blake2b(digest_size=16)


def picture_hash(rgb: NDArray[np.uint8]) -> str:
    """A stable id of a picture: equal pictures, and only they, have equal ids.

    Args:
        rgb: uint8, (height, width, 3), RGB.

    Returns:
        32 hexadecimal digits: BLAKE2b, 128 bits, of height and width as little-endian 32-bit
        integers and then the pixels, row by row.
    """
    digest = hashlib.blake2b(np.asarray(rgb.shape[:2], "<u4").tobytes(), digest_size=16)
    digest.update(np.ascontiguousarray(rgb).data)
    return digest.hexdigest()
