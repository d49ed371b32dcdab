from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ocr_assets.video.fingerprint import fingerprint
from ocr_assets.video.images import decode_image, encode_image


@settings(max_examples=50)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
def test_pictures_come_back_to_the_byte(rgb: np.ndarray) -> None:
    encoded = encode_image(rgb)
    assert encoded.format == "webp"
    np.testing.assert_array_equal(decode_image(encoded.data), rgb)


def test_a_picture_too_large_for_webp_is_kept_as_png() -> None:
    rgb = np.arange(3 * 16384, dtype=np.uint32).astype(np.uint8).reshape(1, 16384, 3)
    encoded = encode_image(rgb)
    assert encoded.format == "png"
    np.testing.assert_array_equal(decode_image(encoded.data), rgb)


@pytest.mark.parametrize("data", [b"", b"not an image"])
def test_bytes_that_are_no_image_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not an image"):
        decode_image(data)


def test_equal_content_has_equal_fingerprints_wherever_it_lies(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"content")
    (tmp_path / "b.mkv").write_bytes(b"content")
    (tmp_path / "c.mp4").write_bytes(b"Content")
    first, second, other = (fingerprint(path) for path in sorted(tmp_path.iterdir()))
    assert first == second != other
    assert len(first) == 32


@pytest.mark.parametrize("changed", [0, 12_345_678, 19_999_999])
def test_one_byte_anywhere_in_a_large_file_changes_its_fingerprint(
    tmp_path: Path, changed: int
) -> None:
    content = bytearray(20_000_000)
    path = tmp_path / "large.mp4"
    path.write_bytes(content)
    before = fingerprint(path)
    content[changed] = 1
    path.write_bytes(content)
    assert fingerprint(path) != before
