"""What becomes of work when those who do it, or look after it, are killed or busy."""

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ocr_assets.assets.sampled_frames import sampled_frames
from ocr_assets.assets.video_manifest import video_manifest
from ocr_assets.compute.on_ray import decoding
from tests.compute.cluster_runs import (
    FRAMES,
    SOME,
    Start,
    compute,
    content,
    sampled_on,
    taken_cores,
    wait_until,
)
from tests.compute.ray_nodes import RayNodes, kill
from tests.pipeline import materialize_day, rows

pytestmark = pytest.mark.usefixtures("no_detectors_are_left")


def test_a_decode_task_that_is_killed_costs_nothing_but_time(
    some_videos: Path,
    sampled: Path,
    nodes: RayNodes,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    killer = threading.Thread(target=kill_one, args=(lambda: processes(nodes, "_decode"),))
    killer.start()
    materialize_day(
        some_videos,
        tmp_path / "again",
        assets=[video_manifest, sampled_frames],
        frames=FRAMES,
        compute=compute(nodes),
    )
    killer.join()
    assert content(tmp_path / "again", "sampled_frames") == content(sampled, "sampled_frames")
    assert "a decode task died, its work is done elsewhere" in capfd.readouterr().err


def test_the_death_of_who_looks_after_the_detectors_costs_nothing_but_time(
    sampled: Path, nodes: RayNodes, start: Start
) -> None:
    for node in nodes.nodes:
        node.slow(0.2)
    run = start(sampled, easyocr={"idle_seconds": 15})
    wait_until(lambda: any(node.lines().count("frame") > 3 for node in nodes.nodes))
    kill_one(lambda: processes(nodes, "DetectorPool"))
    assert run.result()["frames"] == 3 * SOME
    assert {row["status"] for row in rows(sampled, "ocr_boxes")} == {"ok"}
    loaded = [line for node in nodes.nodes for line in node.lines() if line.startswith("loaded")]
    assert len(loaded) == sum(len(node.numbers_by_process()) for node in nodes.nodes)


def test_decoding_that_waits_for_cores_says_so(
    some_videos: Path, nodes: RayNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "FIRST_MESSAGE_SECONDS", 1.0)
    said: list[str] = []
    with contextlib.ExitStack() as taken:
        cores = taken.enter_context(taken_cores(nodes))

        def say(message: str) -> None:
            said.append(message)
            taken.close()

        results = sampled_on(nodes, some_videos, tmp_path, say)
    assert {one.unit for one in results} == {*range(SOME)}
    assert f"wait for a core each: the cluster has {cores:g} cores, 0 of them free" in said[0]


def processes(nodes: RayNodes, name: str) -> list[psutil.Process]:
    return [process for node in nodes.nodes for process in node.processes(name)]


def kill_one(find: Callable[[], list[psutil.Process]]) -> None:
    found: list[psutil.Process] = []
    wait_until(lambda: found.extend(find()) or found)
    kill(found[0])
