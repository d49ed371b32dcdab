"""What an operator does in the web UI, done through its GraphQL."""

import datetime as dt
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ocr_assets.demo import Line
from tests.clips import text_picture, write_video
from tests.deployment import LOCATION, Deployment, wait_until
from tests.pipeline import rows

pytestmark = pytest.mark.slow

TODAY = dt.datetime.now(dt.UTC).date()
DAYS = [str(TODAY - dt.timedelta(days=number)) for number in range(10, 0, -1)]

TERMINATE = """
mutation($id: String!) {
  terminateRun(runId: $id) { __typename ... on TerminateRunFailure { message } }
}
"""
BACKFILL = """
mutation($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
BACKFILL_STATUS = """
query($id: String!) {
  partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status numPartitions } }
}
"""
TICK = """... on DryRunInstigationTick {
    evaluationResult {
      skipReason cursor error { message } runRequests { runKey tags { key value } }
    }
  }
  ... on PythonError { message stack }"""
SCHEDULE_TICK = f"""
mutation($selector: ScheduleSelector!, $at: Float) {{
  scheduleDryRun(selectorData: $selector, timestamp: $at) {{ {TICK} }}
}}
"""
SENSOR_TICK = f"""
mutation($selector: SensorSelector!, $cursor: String) {{
  sensorDryRun(selectorData: $selector, cursor: $cursor) {{ {TICK} }}
}}
"""
START_SENSOR = """
mutation($selector: SensorSelector!) {
  startSensor(sensorSelector: $selector) { __typename ... on PythonError { message } }
}
"""
SENSORS = """
query($selector: RepositorySelector!) {
  sensorsOrError(repositorySelector: $selector) {
    ... on Sensors { results { name sensorState { status } } }
  }
}
"""


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """One for all tests of this file, each of which has days of its own."""
    root = tmp_path_factory.mktemp("operating")
    for number, day in enumerate(DAYS):
        (root / "videos" / day).mkdir(parents=True)
        put_video(root / "videos" / day / "clip.mp4", 3 + number)
    environment = {
        "OCR_ASSETS_SOURCE": str(root / "videos"),
        "OCR_ASSETS_DATA": str(root / "data"),
        "OCR_ASSETS_STATE": str(root / "state"),
    }
    with Deployment(root / "home", environment) as running:
        yield running


def put_video(path: Path, frames: int) -> None:
    """A video that was not written this minute, and so is whole; all its pictures are its own."""
    names = [f"{path.parent.name} {path.stem} {index}" for index in range(frames)]
    write_video(path, [text_picture([Line(name, 4, 32, 14)], 160, 64) for name in names])
    ten_minutes_ago = time.time() - 600
    os.utime(path, (ten_minutes_ago, ten_minutes_ago))


def tick(deployment: Deployment, query: str, name: str, **variables: Any) -> dict[str, Any]:
    kind = "schedule" if "schedule" in query else "sensor"
    selector = {**LOCATION, f"{kind}Name": name}
    answer = deployment.graphql(query, selector=selector, **variables)
    found: dict[str, Any] = answer[f"{kind}DryRun"]["evaluationResult"]
    assert found["error"] is None, found["error"]
    return found


def late_days(deployment: Deployment) -> list[dict[str, Any]]:
    return tick(deployment, SENSOR_TICK, "late_videos", cursor=None)["runRequests"] or []


def test_the_schedules_tick_asks_for_yesterday_with_the_pools_tag(deployment: Deployment) -> None:
    at = dt.datetime(2026, 3, 1, 1, 0, tzinfo=dt.UTC).timestamp()
    (request,) = tick(deployment, SCHEDULE_TICK, "daily_schedule", at=at)["runRequests"]
    tags = {tag["key"]: tag["value"] for tag in request["tags"]}
    assert tags["dagster/partition"] == "2026-02-28"
    assert tags["ocr_assets/gpu_pool"] == "gpu"


def test_the_pools_are_looked_after_from_the_start_and_runs_only_on_request(
    deployment: Deployment,
) -> None:
    answer = deployment.graphql(SENSORS, selector=LOCATION)["sensorsOrError"]["results"]
    states = {sensor["name"]: sensor["sensorState"]["status"] for sensor in answer}
    assert states == {"pool_limits": "RUNNING", "lost_runs": "RUNNING", "late_videos": "STOPPED"}
    wait_until(lambda: "sensor on" in deployment.command("pools").stdout, "the sensor sets limits")


def test_a_run_that_waits_for_a_slot_can_be_terminated(deployment: Deployment) -> None:
    assert deployment.command("pools", "pin", "gpu", "0").returncode == 0
    try:
        run_id = deployment.launch(DAYS[0])
        waits = "Step blocked by limit for pool gpu"
        wait_until(lambda: waits in deployment.messages(run_id), "the run waits for a slot")
        assert f"{run_id[:8]}" in deployment.command("pools").stdout
        answer = deployment.graphql(TERMINATE, id=run_id)["terminateRun"]
        assert answer["__typename"] == "TerminateRunSuccess"
        deployment.wait_for([run_id], 30)
        assert deployment.runs([run_id])[run_id]["status"] == "CANCELED"
        assert deployment.pool("gpu")["pendingSteps"] == []
    finally:
        assert deployment.command("pools", "unpin", "gpu").returncode == 0


def test_of_two_runs_of_a_day_the_second_waits_and_names_the_first(deployment: Deployment) -> None:
    first = deployment.launch(DAYS[1])
    wait_until(lambda: "video_manifest" in deployment.messages(first), "the first run works")
    second = deployment.launch(DAYS[1])
    deployment.wait_for([first, second])
    runs = deployment.runs([first, second])
    assert {run["status"] for run in runs.values()} == {"SUCCESS"}
    said = deployment.messages(second)
    assert f"run {first[:8]} (process " in said
    assert f"is working on {DAYS[1]} in" in said
    began = [
        float(event["timestamp"]) / 1000
        for event in deployment.events(second)
        if event["__typename"] == "ExecutionStepStartEvent"
    ]
    assert min(began) > runs[first]["endTime"] - 2


def test_bad_config_fails_at_once_and_is_not_retried(deployment: Deployment) -> None:
    config = {"ops": {"filtered_dataset": {"config": {"max_area_ratio": -0.5}}}}
    run_id = deployment.launch(DAYS[2], config)
    deployment.wait_for([run_id])
    said = "".join(str(event) for event in deployment.events(run_id))
    assert deployment.runs([run_id])[run_id]["status"] == "FAILURE"
    assert "ExecutionStepStartEvent" not in said
    time.sleep(12)  # longer than the daemon takes to see what is to be retried
    assert not [run for run in deployment.runs().values() if run["parentRunId"] == run_id]


def test_a_backfill_of_five_days_is_one_run(deployment: Deployment) -> None:
    assets = ["video_manifest", "sampled_frames", "ocr_boxes", "filtered_dataset"]
    params = {
        "assetSelection": [{"path": [name]} for name in assets],
        "partitionNames": DAYS[3:8],
        "tags": [{"key": "ocr_assets/gpu_pool", "value": "gpu"}],
    }
    answer = deployment.graphql(BACKFILL, params=params)["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer

    def status() -> str:
        found = deployment.graphql(BACKFILL_STATUS, id=answer["backfillId"])
        return str(found["partitionBackfillOrError"]["status"])

    wait_until(lambda: status() not in {"REQUESTED", "COMPLETING"}, "the backfill ends", 200, 1.0)
    assert status() == "COMPLETED_SUCCESS"
    (run,) = [
        run
        for run in deployment.runs().values()
        if run["tags"].get("dagster/backfill") == answer["backfillId"]
    ]
    assert run["tags"]["dagster/asset_partition_range_start"] == DAYS[3]
    assert run["tags"]["dagster/asset_partition_range_end"] == DAYS[7]
    data = deployment.home.parent / "data"
    for day in DAYS[3:8]:
        assert len(rows(data, "filtered_dataset", day)) == 1


def test_a_changed_video_is_run_again_once_and_its_own_run_is_no_change(
    deployment: Deployment,
) -> None:
    day = DAYS[8]
    folder = deployment.home.parent / "videos" / day
    deployment.wait_for([deployment.launch(day)])
    assert late_days(deployment) == []
    put_video(folder / "late.mp4", 5)
    (request,) = late_days(deployment)
    tags = {tag["key"]: tag["value"] for tag in request["tags"]}
    assert tags["dagster/partition"] == day
    assert tags["ocr_assets/gpu_pool"] == "gpu"
    (again,) = late_days(deployment)
    assert again["runKey"] == request["runKey"]

    selector = {**LOCATION, "sensorName": "late_videos"}
    answer = deployment.graphql(START_SENSOR, selector=selector)["startSensor"]
    assert answer["__typename"] == "Sensor", answer

    def requested() -> list[str]:
        return [
            run_id
            for run_id, run in deployment.runs().items()
            if run["tags"].get("ocr_assets/reason") == "late_videos"
        ]

    wait_until(lambda: requested() != [], "the sensor requests a run")
    deployment.wait_for(requested())
    (run_id,) = requested()
    run = deployment.runs([run_id])[run_id]
    assert run["status"] == "SUCCESS"
    assert run["tags"]["dagster/partition"] == day
    assert run["tags"]["dagster/run_key"] == request["runKey"]
    assert len(rows(deployment.home.parent / "data", "filtered_dataset", day)) == 2
    assert late_days(deployment) == []
