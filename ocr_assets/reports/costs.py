"""What a day has cost, from what its steps reported."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

STAGES = ("video_manifest", "sampled_frames", "ocr_boxes", "filtered_dataset")
DEVICE_SHARE = "device_share/"
Metadata = Mapping[str, Any]


@dataclass(frozen=True)
class StageCost:
    """What one step took.

    Attributes:
        stage: The asset.
        seconds: By the clock; None if it is not recorded.
        seconds_per_1000_videos: The same for as many videos; None where there is none.
    """

    stage: str
    seconds: float | None
    seconds_per_1000_videos: float | None


@dataclass(frozen=True)
class DetectionCost:
    """How the detector got on; what is None has no value, as no frame was detected or no GPU used.

    Attributes:
        frames: Frames that were detected; those whose boxes were known already count.
        frames_reused: Frames whose boxes were known.
        frames_per_second: Of the others.
        device_share: Share of the others by device, in [0, 1].
        fallback_share: Share of the others that the CPU did, though there was a GPU.
        fallbacks: How often it moved to another device.
        waits: How often it waited for memory.
        wait_seconds: How long.
        out_of_memory: How often memory ran out all the same.
        gpu_peak_bytes: Most memory of a GPU that was allocated.
    """

    frames: int
    frames_reused: int
    frames_per_second: float | None
    device_share: Mapping[str, float]
    fallback_share: float | None
    fallbacks: int
    waits: int
    wait_seconds: float
    out_of_memory: int
    gpu_peak_bytes: int | None


def stage_costs(reported: Mapping[str, Metadata], videos: int) -> list[StageCost]:
    """What each step took.

    Args:
        reported: The metadata of each asset's latest materialisation of the day, where known.
        videos: How many videos the day has.
    """
    costs = []
    for stage in STAGES:
        seconds = reported.get(stage, {}).get("seconds")
        costs.append(
            StageCost(
                stage,
                seconds,
                1000 * seconds / videos if seconds is not None and videos else None,
            )
        )
    return costs


def detection_cost(reported: Mapping[str, Metadata]) -> DetectionCost | None:
    """What `ocr_boxes` reported; None if it is not recorded, or an earlier try had done it all."""
    metadata = reported.get("ocr_boxes", {})
    if "fallbacks" not in metadata:
        return None
    shares = {
        name.removeprefix(DEVICE_SHARE): share
        for name, share in metadata.items()
        if name.startswith(DEVICE_SHARE)
    }
    names = [field.name for field in fields(DetectionCost) if field.name != "device_share"]
    known: dict[str, Any] = {name: metadata.get(name) for name in names}
    return DetectionCost(device_share=shares, **known)
