"""How much memory a reader needs, before and after it was measured."""

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ocr_assets.gpu.footprint import (
    CRAFT_WEIGHTS_BYTES,
    LIVE_BYTES_PER_PIXEL,
    MARGIN,
    SEGMENTS_BYTES,
    Footprint,
)
from ocr_assets.gpu.sizes import GIB, MIB
from ocr_assets.ocr.craft import Craft, read_weights
from ocr_assets.ocr.detector import ModelSettings
from ocr_assets.ocr.thresholds import DetectionThresholds
from ocr_assets.ocr.weights import DETECTOR_FILE

sides = st.integers(1, 80).map(lambda count: 32 * count)
canvases = st.builds(lambda width, height: width * height, sides, sides)
batches = st.integers(1, 64)
estimates = st.builds(
    lambda make, recognize: make(recognize=recognize),
    st.sampled_from([Footprint.for_gpu, Footprint.for_cpu]),
    st.booleans(),
)
measured = st.builds(
    Footprint, st.integers(100 * MIB, 4 * GIB), st.floats(100.0, 5000.0), st.just(100.0)
)
footprints = estimates | measured


def test_the_estimate_for_a_gpu_is_the_formula() -> None:
    pixels = 1280 * 736
    assert Footprint.for_gpu().bytes_for(pixels, 4) == (
        80 * MIB + 720 * MIB + 48 * MIB + 48 * MIB + 4 * pixels * 655
    )


@pytest.mark.parametrize("make", [Footprint.for_gpu, Footprint.for_cpu])
def test_reading_takes_more_than_detecting_whatever_the_frames(make: type[Footprint]) -> None:
    more = {
        make(recognize=True).bytes_for(pixels, batch) - make().bytes_for(pixels, batch)
        for pixels, batch in [(1024, 1), (1280 * 736, 8)]
    }
    assert more == {512 * MIB}


@given(footprints, canvases, batches)
def test_only_all_pixels_of_a_batch_matter(footprint: Footprint, pixels: int, batch: int) -> None:
    together = footprint.bytes_for(pixels * batch, 1)
    assert footprint.bytes_for(pixels, batch) == pytest.approx(together, abs=1)


def test_half_precision_halves_weights_and_activations_but_not_what_is_fixed() -> None:
    whole, half = Footprint.for_gpu(), Footprint.for_gpu(element_bytes=2)
    assert half.bytes_per_pixel == whole.bytes_per_pixel / 2
    assert whole.fixed_bytes - half.fixed_bytes == CRAFT_WEIGHTS_BYTES / 2


@given(footprints, canvases, batches)
def test_the_batch_for_a_batchs_bytes_is_that_batch(
    footprint: Footprint, pixels: int, batch: int
) -> None:
    size_bytes = footprint.bytes_for(pixels, batch)
    assert footprint.batch_for(size_bytes, pixels) == batch


@given(footprints, canvases, st.integers(0, 80 * GIB))
@example(Footprint.for_gpu(), 1280 * 736, 0)
def test_the_largest_batch_that_fits_is_found(
    footprint: Footprint, pixels: int, size_bytes: int
) -> None:
    batch = footprint.batch_for(size_bytes, pixels)
    if batch:
        # Bytes are rounded down per frame, so a batch may be that many bytes over.
        assert footprint.bytes_for(pixels, batch) <= size_bytes + batch
    assert footprint.bytes_for(pixels, batch + 1) > size_bytes


@given(estimates, canvases, batches, st.data())
def test_a_measured_peak_is_covered_with_a_margin(
    footprint: Footprint, pixels: int, batch: int, data: st.DataObject
) -> None:
    loaded = data.draw(st.integers(100 * MIB, 4 * GIB))
    peak = data.draw(st.integers(loaded, loaded + 80 * GIB))
    corrected = footprint.corrected(loaded, peak, pixels * batch)
    size_bytes = corrected.bytes_for(pixels, batch)
    assert size_bytes >= peak
    activations = max(peak - loaded, footprint.live_bytes_per_pixel * pixels * batch)
    expected = SEGMENTS_BYTES + MARGIN * activations
    assert size_bytes - loaded == pytest.approx(expected, rel=1e-9, abs=1)


def test_a_correction_is_also_right_for_other_batches() -> None:
    pixels, loaded, per_frame = 640 * 384, 700 * MIB, 240 * MIB
    corrected = Footprint.for_gpu().corrected(loaded, loaded + 4 * per_frame, 4 * pixels)
    assert corrected.batch_for(loaded + 4 * per_frame, pixels) == 3
    expected = loaded + SEGMENTS_BYTES + MARGIN * 8 * per_frame
    assert corrected.bytes_for(pixels, 8) == pytest.approx(expected, abs=1)


def test_a_batch_that_found_room_in_what_was_loaded_is_not_taken_for_free() -> None:
    corrected = Footprint.for_gpu().corrected(GIB, GIB - 1, 1024)
    live = LIVE_BYTES_PER_PIXEL * 1280 * 736 * 4
    assert corrected.bytes_for(1280 * 736, 4) == pytest.approx(
        GIB + SEGMENTS_BYTES + MARGIN * live, abs=1
    )


def test_a_correction_leaves_the_estimate_as_it_was() -> None:
    footprint = Footprint.for_gpu()
    footprint.corrected(GIB, 2 * GIB, 1024)
    assert footprint == Footprint.for_gpu()
    with pytest.raises(dataclasses.FrozenInstanceError):
        footprint.fixed_bytes = 0  # type: ignore[misc]


@settings(max_examples=80)
@given(
    width=st.integers(1, 1500),
    height=st.integers(1, 1500),
    canvas_size=st.integers(32, 1500),
    mag_ratio=st.floats(0.1, 3.0),
)
@example(width=1280, height=720, canvas_size=2560, mag_ratio=1.0)
@example(width=1500, height=844, canvas_size=1280, mag_ratio=1.5)
@example(width=1, height=1, canvas_size=32, mag_ratio=1.0)
@example(width=163, height=163, canvas_size=1500, mag_ratio=0.2)  # 32.6 pixels count as 32
def test_the_canvas_is_the_one_that_easyocr_makes(
    width: int, height: int, canvas_size: int, mag_ratio: float
) -> None:
    import cv2
    from easyocr.imgproc import resize_aspect_ratio

    frame = np.zeros((height, width, 3), np.uint8)
    try:
        canvas, _, _ = resize_aspect_ratio(frame, canvas_size, cv2.INTER_LINEAR, mag_ratio)
    except cv2.error:
        assume(False)  # a side of less than a pixel
    thresholds = DetectionThresholds(canvas_size=canvas_size, mag_ratio=mag_ratio)
    assert canvas.shape[:2] == thresholds.canvas_shape(width, height)


def test_a_frame_that_easyocr_refuses_still_has_a_canvas() -> None:
    assert DetectionThresholds(canvas_size=1280).canvas_pixels(3000, 1) == 1280 * 32


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 320, 320), (2, 320, 192)])
def test_the_live_tensors_peak_at_two_maps_of_64_channels_and_the_picture(
    batch: int, height: int, width: int
) -> None:
    import torch

    class AsOnAGpu(Craft):
        """Without what is done on the CPU alone."""

        winograd = False

    network = AsOnAGpu(
        read_weights(ModelSettings().locate_weights() / DETECTOR_FILE), "cpu", "fp32"
    )
    frames = torch.zeros(batch, height, width, 3, dtype=torch.uint8)
    profile = torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    )
    with profile:
        network.score_maps(frames)
    assert profile.profiler is not None
    events = [one for one in profile.profiler.kineto_results.events() if one.name() == "[memory]"]
    changes = [one.nbytes() for one in sorted(events, key=lambda event: event.start_ns())]
    peak_bytes = int(np.cumsum(changes).max())
    per_pixel = peak_bytes / (batch * height * width)
    assert LIVE_BYTES_PER_PIXEL <= per_pixel <= 530


def test_the_weights_of_craft_are_what_the_estimate_says() -> None:
    weights = read_weights(ModelSettings().locate_weights() / DETECTOR_FILE)
    size_bytes = sum(tensor.nbytes for tensor in weights.values())
    assert size_bytes == pytest.approx(CRAFT_WEIGHTS_BYTES, rel=0.02)
    assert size_bytes <= CRAFT_WEIGHTS_BYTES
