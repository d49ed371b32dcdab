"""The model of a cluster; nothing is timed here."""

from dataclasses import replace

import pytest

from tests.benchmarks.cluster_model import (
    DRIVER,
    GPUS,
    STORAGE,
    Cluster,
    Costs,
    Station,
    Step,
    forecast,
    nodes_that_help,
    simulate,
    steps,
)

COSTS = Costs(
    video_bytes=4e6,
    frames_a_video=3,
    image_bytes=0.7e6,
    part_frames=96,
    inspect_seconds=0.02,
    sample_seconds=0.5,
    decode_image_seconds=0.01,
    gpu_frames_a_second=300,
    sample_driver_seconds=0.001,
    boxes_driver_seconds=0.001,
    wait_seconds=1e-7,
    commit_seconds=1e-4,
)


def step(*stations: Station, units_under_way: int = 100) -> Step:
    return Step("a step", stations, units_under_way, videos_a_unit=2)


def test_a_line_of_stations_gives_what_its_slowest_one_can_do() -> None:
    flow = simulate(step(Station("fast", 1, 0.1), Station("slow", 2, 0.5), Station("fast", 4, 0.1)))
    assert flow.videos_a_second == pytest.approx(2 * 4, rel=0.01)
    assert flow.bottleneck == "slow"
    assert flow.busy["slow"] == pytest.approx(1, rel=0.01)


def test_with_one_unit_under_way_it_takes_as_long_as_all_stations_together() -> None:
    alone = step(Station("first", 1, 0.1), Station("second", 5, 0.4), units_under_way=1)
    flow = simulate(alone)
    assert flow.videos_a_second == pytest.approx(2 / 0.5, rel=0.01)
    assert flow.busy["second"] == pytest.approx(0.4 / 0.5 / 5, rel=0.01)


def test_no_station_is_busy_for_longer_than_there_is_time() -> None:
    for nodes in (1, 3, 64):
        for flow in forecast(COSTS, Cluster(nodes, 8)).flows.values():
            assert max(flow.busy.values()) <= 1.001
            assert flow.busy[flow.bottleneck] == max(flow.busy.values())


def test_twice_the_nodes_find_text_twice_as_fast_until_one_thing_they_share_is_busy() -> None:
    def boxes(nodes: int) -> float:
        return forecast(COSTS, Cluster(nodes, 1)).flows["ocr_boxes"].videos_a_second

    assert boxes(1) == pytest.approx(300 / 3, rel=0.01)
    assert boxes(16) == pytest.approx(16 * boxes(1), rel=0.01)
    flow = forecast(COSTS, Cluster(512, 1)).flows["ocr_boxes"]
    assert flow.bottleneck == STORAGE
    assert flow.busy[GPUS] < 0.5
    assert boxes(1024) == pytest.approx(boxes(512), rel=0.01)
    assert 64 < nodes_that_help(COSTS, Cluster(1, 1), "ocr_boxes") < 128


def test_with_a_storage_that_is_fast_enough_the_driver_is_what_limits() -> None:
    cluster = Cluster(1024, 1, storage_bytes_a_second=1e15)
    assert forecast(COSTS, cluster).flows["ocr_boxes"].bottleneck == DRIVER
    larger = replace(COSTS, part_frames=4 * COSTS.part_frames)
    assert nodes_that_help(larger, cluster, "ocr_boxes") == pytest.approx(
        4 * nodes_that_help(COSTS, cluster, "ocr_boxes")
    )


def test_a_day_takes_as_long_as_its_steps_and_commits() -> None:
    found = forecast(COSTS, Cluster(8, 1))
    alone = [1 / flow.videos_a_second for flow in found.flows.values()]
    assert found.seconds_a_video == pytest.approx(sum(alone) + 2 * 1e-4 / 32)
    assert found.videos_a_second < found.videos_a_second_overlapping
    assert found.slowest in {each.name for each in steps(COSTS, Cluster(8, 1))}
