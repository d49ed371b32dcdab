"""The network against EasyOCR's own module with the same weights."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch  # noqa: TID253 - the network is nothing without it
from hypothesis import given, settings
from hypothesis import strategies as st

from ocr_assets.demo import Line
from ocr_assets.ocr.craft import Craft, NumberFormat, read_weights
from ocr_assets.ocr.detector import ModelSettings
from ocr_assets.ocr.text_detector import number_format
from ocr_assets.ocr.weights import DETECTOR_FILE
from ocr_assets.ocr.winograd import WinogradConvolution
from ocr_assets.video.sampling import SamplingRule, sample_frames
from tests.clips import text_picture

EXACT = 1e-5


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return read_weights(ModelSettings().locate_weights() / DETECTOR_FILE)


@pytest.fixture(scope="module")
def easyocrs(weights: dict[str, torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """EasyOCR's module with EasyOCR's preparation: uint8 canvases to score maps."""
    from easyocr.craft import CRAFT
    from easyocr.imgproc import normalizeMeanVariance

    network = CRAFT()
    network.load_state_dict(weights)
    network.eval()

    def score_maps(canvases: torch.Tensor) -> torch.Tensor:
        prepared = np.stack([normalizeMeanVariance(canvas) for canvas in canvases.numpy()])
        with torch.no_grad():
            return network(torch.from_numpy(prepared).permute(0, 3, 1, 2))[0]

    return score_maps


class Plain(Craft):
    """As on a GPU: without Winograd's convolutions."""

    winograd = False


@pytest.mark.parametrize("kind", [Craft, Plain])
@pytest.mark.parametrize(("n", "height", "width"), [(1, 32, 32), (2, 64, 96), (1, 224, 352)])
def test_score_maps_are_easyocrs_within_a_hundred_thousandth(
    weights: dict[str, torch.Tensor],
    easyocrs: Callable[[torch.Tensor], torch.Tensor],
    kind: type[Craft],
    n: int,
    height: int,
    width: int,
) -> None:
    noise = torch.randint(0, 256, (n, height, width, 3), dtype=torch.uint8)
    text = text_picture([Line("Some text", 10, 30, 24)])[:height, :width].copy()
    noise[0, : text.shape[0], : text.shape[1]] = torch.from_numpy(text)
    found = kind(weights, "cpu", "fp32").score_maps(noise)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, easyocrs(noise), rtol=0, atol=EXACT)


@pytest.mark.parametrize("video", ["video1.mp4", "video2.mp4", "video3.mp4"])
def test_score_maps_of_real_frames_are_easyocrs_within_a_hundred_thousandth(
    parity_folder: Path,
    weights: dict[str, torch.Tensor],
    easyocrs: Callable[[torch.Tensor], torch.Tensor],
    video: str,
) -> None:
    network = Craft(weights, "cpu", "fp32")
    (frame,) = sample_frames(parity_folder / video, SamplingRule(1))
    height, width = (side // 32 * 32 for side in frame.rgb.shape[:2])
    canvas = torch.from_numpy(frame.rgb[:height, :width].copy())[None]
    torch.testing.assert_close(network.score_maps(canvas), easyocrs(canvas), rtol=0, atol=EXACT)


@given(
    n=st.integers(1, 2),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.integers(1, 20),
    relu=st.booleans(),
    threads=st.integers(1, 3),
)
@settings(max_examples=60)
def test_winograds_convolution_is_the_plain_one(
    n: int, height: int, width: int, channels: int, relu: bool, threads: int
) -> None:
    usual = torch.get_num_threads()
    torch.set_num_threads(threads)  # bands are as large as the threads are many
    x = torch.randn(n, height, width, channels)
    weight, bias = torch.randn(7, channels, 3, 3).double() / 10, torch.randn(7).double()
    found = WinogradConvolution(weight, bias, relu=relu)(x)
    torch.set_num_threads(usual)
    plain = torch.conv2d(x.double().permute(0, 3, 1, 2), weight, bias, padding=1)
    plain = (plain.relu() if relu else plain).permute(0, 2, 3, 1).float()
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("precision", "expected"), [("exact", "fp32"), ("bf16", "bf16"), ("fp16", "fp16")]
)
def test_a_precision_that_is_asked_for_is_used(precision: str, expected: NumberFormat) -> None:
    assert number_format(precision, "cpu") == expected  # type: ignore[arg-type]


def test_auto_on_the_cpu_is_bf16_where_the_hardware_has_it() -> None:
    cpu_flags = Path("/proc/cpuinfo").read_text().split()
    has_bf16 = "avx512_bf16" in cpu_flags or "amx_bf16" in cpu_flags
    assert number_format("auto", "cpu") == ("bf16" if has_bf16 else "fp32")
