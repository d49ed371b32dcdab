"""Two thousand damaged videos: each is accounted for once, and nothing crashes, hangs or grows."""

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ocr_assets.reasons import Status
from tests.clips import Picture, numbered, text_picture, write_video
from tests.pipeline import DAY, rows

MUTANTS = 2_000
SEED = 6
CONTAINERS: dict[str, dict[str, Any]] = {
    "clip.mp4": {"options": {"movflags": "faststart"}},
    "index_at_the_end.mp4": {},
    "fragmented.mp4": {"options": {"movflags": "frag_keyframe+empty_moov"}},
    "clip.mkv": {},
    "clip.webm": {"codec": "libvpx-vp9"},
    "clip.avi": {"codec": "mpeg4"},
    "clip.ts": {"container": "mpegts"},
}
MEMORY_BYTES = 512 * 2**20
SECONDS = 60

# A process of its own, so that what its children took at most is what the workers took.
PROGRAM = """
import json, resource, sys
from pathlib import Path
from ocr_assets.resources.decoder import VideoDecoder
from tests.pipeline import materialize_day
videos, data, seconds, memory = sys.argv[1:]
result = materialize_day(
    Path(videos),
    Path(data),
    frames={"frame_sample_num": 2},
    rule={"max_area_ratio": 0.2},
    decoder=VideoDecoder(max_seconds=float(seconds), max_memory_bytes=int(memory)),
)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
print(json.dumps({"success": result.success, "worker_peak_bytes": peak}))
"""


def mutated(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Flips bytes, cuts, overwrites, repeats or splices."""
    changed = bytearray(data)
    place = rng.randrange(len(data))
    match rng.choice(["flip", "flip in the head", "cut", "zeros", "repeat", "splice"]):
        case "flip":
            for _ in range(rng.choice([1, 5, 50])):
                changed[rng.randrange(len(data))] = rng.randrange(256)
        case "flip in the head":
            for _ in range(rng.choice([1, 5, 20])):
                changed[rng.randrange(min(len(data), 600))] = rng.randrange(256)
        case "cut":
            del changed[place:]
        case "zeros":
            length = min(rng.choice([4, 64, 1024]), len(data) - place)
            changed[place : place + length] = bytes(length)
        case "repeat":
            end = place + rng.choice([1, 100, 2000])
            changed[place:place] = data[place:end]
        case "splice":
            other = rng.choice(others)
            changed[place:] = other[rng.randrange(len(other)) :]
    return bytes(changed)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("mutants")
    folder = root / "videos" / DAY
    folder.mkdir(parents=True)
    pictures: list[Picture] = [*numbered(11), text_picture(width=96, height=64)]
    clips = [write_video(folder / name, pictures, **how) for name, how in CONTAINERS.items()]
    originals = [clip.read_bytes() for clip in clips]
    rng = random.Random(SEED)
    for number in range(MUTANTS):
        clip, data = rng.choice([*zip(clips, originals, strict=True)])
        mutant = folder / f"{number:04}{clip.suffix}"
        mutant.write_bytes(mutated(data, originals, rng))
    found = subprocess.run(
        [
            *(sys.executable, "-c", PROGRAM, str(root / "videos"), str(root / "data")),
            *(str(SECONDS), str(MEMORY_BYTES)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr[-5000:]
    return root, json.loads(found.stdout.splitlines()[-1])


@pytest.mark.slow
def test_inputs_are_kept_dropped_or_quarantined_each_once(
    day: tuple[Path, dict[str, Any]],
) -> None:
    root, outcome = day
    assert outcome["success"]
    files = sorted(f"{DAY}/{path.name}" for path in (root / "videos" / DAY).iterdir())
    manifest, dataset = (
        rows(root / "data", "video_manifest"),
        rows(root / "data", "filtered_dataset"),
    )
    assert sorted(row["sample_id"] for row in manifest) == files
    assert sorted(row["sample_id"] for row in dataset) == files
    verdicts = Counter(row["verdict"] for row in dataset)
    assert verdicts["keep"] + verdicts["drop"] + verdicts["quarantine"] == len(files)
    print(verdicts, Counter(row["reason_code"] for row in dataset))


@pytest.mark.slow
def test_no_fault_becomes_a_verdict_on_text(day: tuple[Path, dict[str, Any]]) -> None:
    root, _ = day
    unread = {row["sample_id"] for row in rows(root / "data", "video_manifest") if row["error"]}
    failed = {row["video_id"] for row in rows(root / "data", "ocr_boxes") if row["error"]}
    for row in rows(root / "data", "filtered_dataset"):
        is_faulty = row["sample_id"] in unread or bool(failed & {*row["video_ids"]})
        assert (row["verdict"] == "quarantine") == is_faulty
        assert (row["reason_code"] in set(Status) - {Status.OK}) == is_faulty
        assert (row["ocr_area_ratio"] == [None]) == is_faulty
    whole = {row["sample_id"]: row["verdict"] for row in rows(root / "data", "filtered_dataset")}
    assert {whole[f"{DAY}/{name}"] for name in CONTAINERS} == {"keep"}


@pytest.mark.slow
def test_memory_stays_bounded(day: tuple[Path, dict[str, Any]]) -> None:
    _, outcome = day
    # What a worker has when it starts is beside the limit.
    assert outcome["worker_peak_bytes"] < MEMORY_BYTES + 256 * 2**20
