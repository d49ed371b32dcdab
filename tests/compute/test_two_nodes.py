"""Two Ray nodes on one machine: one with made-up GPUs, one without any."""

from collections import Counter
from pathlib import Path

import psutil
import pytest
import ray

from ocr_assets.compute.on_ray.detector_pool import detector_pool
from ocr_assets.ocr.reader_pool import ReaderPool
from ocr_assets.resources.tables import Tables
from ocr_assets.tables.checkpoint import read_notes
from tests.compute.cluster_runs import (
    FAR,
    FRAMES,
    NAMESPACE,
    SOME,
    Start,
    compute,
    connect,
    content,
    easyocr,
    wait_until,
    watched,
)
from tests.compute.ray_nodes import RayNodes, kill
from tests.fake_nvml import allocate
from tests.gpu.fake_detector import GIB, FakeLoader
from tests.own_pool import POOLS, OwnPool
from tests.pipeline import DAY, NEXT_DAY, materialize_day, rows

LONG = {"idle_seconds": 15}  # that none loads its model twice

pytestmark = pytest.mark.usefixtures("no_detectors_are_left")


def test_a_day_of_200_clips_is_the_same_as_done_here_and_detectors_are_where_there_is_room(
    videos: Path, nodes: RayNodes, tmp_path: Path
) -> None:
    POOLS["here"] = ReaderPool(FakeLoader(tmp_path))
    here = OwnPool(bench="here", device="cpu")
    materialize_day(videos, tmp_path / "here", frames=FRAMES, easyocr=here)
    POOLS.pop("here").close_idle()
    for node in nodes.nodes:
        node.slow(0.1)
    with watched(nodes) as states:
        materialize_day(
            videos, tmp_path / "there", frames=FRAMES, easyocr=easyocr(), compute=compute(nodes)
        )
    for table in ("video_manifest", "sampled_frames", "ocr_boxes", "filtered_dataset"):
        assert content(tmp_path / "there", table) == content(tmp_path / "here", table)
    detected = Counter(row["device"] for row in rows(tmp_path / "there", "ocr_boxes"))
    assert detected.keys() == {"cuda:0", "cuda:1", "cpu"}
    most = max(states, key=len).values()
    assert len({one.node_id for one in most if one.on_gpu}) == 1
    assert len({one.node_id for one in most if not one.on_gpu}) == 2
    # Two readers on each GPU (max_readers_per_gpu), one on the two cores of each node.
    loaded = [line.split()[1] for line in nodes.nodes[1].lines() if line.startswith("loaded")]
    assert Counter(loaded) == {"cuda:0": 2, "cuda:1": 2, "cpu": 1}
    assert len(list((nodes.nodes[1].folder / "leases").glob("GPU-*"))) == 2


def test_two_days_at_once_share_the_same_detectors_one_of_them_from_another_host(
    sampled: Path, nodes: RayNodes, start: Start
) -> None:
    for node in nodes.nodes:
        node.slow(0.05)
    runs = [
        start(sampled, day=DAY, easyocr=LONG),
        start(sampled, day=NEXT_DAY, easyocr=LONG, address=nodes.client_address),
    ]
    for run in runs:
        assert run.result()["frames"] == 3 * SOME
    seen = {
        process: numbers
        for node in nodes.nodes
        for process, numbers in node.numbers_by_process().items()
    }
    of_both = [
        numbers for numbers in seen.values() if min(numbers) <= SOME < FAR - 1 <= max(numbers)
    ]
    assert of_both  # detectors of one run would have seen pictures of one day
    loaded = [line for node in nodes.nodes for line in node.lines() if line.startswith("loaded")]
    assert len(loaded) == len(seen) <= 6


def test_a_connection_that_the_cluster_fails_to_make_is_made_again(
    sampled: Path, nodes: RayNodes, start: Start
) -> None:
    nodes.nodes[0].fail_client()
    run = start(sampled, address=nodes.client_address)
    assert run.result()["frames"] == 3 * SOME
    assert "answered, and gave no connection; once more" in run.output


def test_on_a_gpu_that_others_fill_there_is_no_detector(
    sampled: Path, nodes: RayNodes, start: Start
) -> None:
    node = nodes.nodes[1]
    hog = allocate(node.nvml.state, node.gpus[0], 23 * GIB)
    for one in nodes.nodes:
        one.slow(0.1)
    try:
        assert start(sampled).result()["frames"] == 3 * SOME
    finally:
        hog.free()
    loaded = {line.split()[1] for line in node.lines() if line.startswith("loaded")}
    assert loaded - {"cpu"} == {"cuda:1"}


def test_a_detector_that_is_killed_costs_nothing_but_time(
    sampled: Path, nodes: RayNodes, start: Start
) -> None:
    for node in nodes.nodes:
        node.slow(0.2)
    run = start(sampled)
    wait_until(lambda: nodes.nodes[1].lines().count("frame") > 3)
    kill(psutil.Process(nodes.nodes[1].last_process()))
    assert run.result() | {"devices": None} == {"frames": 3 * SOME, "failed": 0, "devices": None}
    assert "its work is done elsewhere" in run.output
    assert [row["error"] for row in rows(sampled, "ocr_boxes")] == [None] * 3 * SOME


def test_videos_that_kill_every_detector_are_quarantined_and_those_of_no_run_beside_them(
    sampled: Path, nodes: RayNodes, start: Start
) -> None:
    for node in nodes.nodes:
        node.deadly(7)
    run, other = (start(sampled, day=day, compute={"max_tries": 3}) for day in (DAY, NEXT_DAY))
    result = run.result()
    assert other.result()["failed"] == 0
    found = rows(sampled, "ocr_boxes")
    given_up = [row for row in found if row["status"] == "worker_died"]
    assert len(given_up) == result["failed"] == FRAMES["part_max_frames"]
    assert all("died 3 times" in row["error"] for row in given_up)
    assert [row["status"] for row in found].count("ok") == len(found) - len(given_up)
    assert result["frames"] == len(found) - len(given_up)
    killed = [line for node in nodes.nodes for line in node.lines() if line == "killed"]
    assert len(killed) == 3


def test_a_run_that_is_killed_is_gone_on_with_and_its_detectors_are_taken_over_or_end(
    sampled: Path, nodes: RayNodes, start: Start
) -> None:
    for node in nodes.nodes:
        node.slow(0.2)
    run = start(sampled)
    # A part that is there is not of use before the run has taken note of it.
    boxes = Tables(root=str(sampled)).ocr_boxes.folder
    wait_until(lambda: any(note.units for note in read_notes(boxes).values()))
    run.kill()
    again = start(sampled)
    assert again.result()["frames"] == 3 * SOME
    assert "frames were done by an earlier try" in again.output
    found = rows(sampled, "ocr_boxes")
    assert len({(row["video_id"], row["frame_index"]) for row in found}) == len(found) == 3 * SOME


def test_other_settings_have_detectors_of_their_own_and_the_old_ones_make_room(
    sampled: Path, nodes: RayNodes, start: Start
) -> None:
    start(sampled, easyocr={"idle_seconds": 600}).result()
    connect(nodes)
    pool = detector_pool(NAMESPACE)
    before = ray.get(pool.state.remote()).detectors
    assert before
    for node in nodes.nodes:
        node.slow(0.2)
    start(sampled, easyocr={"text_threshold": 0.5}).result()
    after = ray.get(pool.state.remote()).detectors
    assert not {one.key for one in before.values()} & {one.key for one in after.values()}


def test_a_host_that_is_gone_costs_nothing_but_time(
    sampled: Path, nodes: RayNodes, start: Start
) -> None:
    third = nodes.start(cpus=1, gpu_bytes=(24 * GIB,))
    for node in nodes.nodes:
        node.slow(0.3)
    run = start(sampled)
    wait_until(lambda: "frame" in third.lines())
    kill(third.raylet)
    assert run.result()["frames"] == 3 * SOME
    nodes.nodes.remove(third)
    third.end()
    found = rows(sampled, "ocr_boxes")
    assert len({(row["video_id"], row["frame_index"]) for row in found}) == len(found) == 3 * SOME
    assert all(row["error"] is None for row in found)
