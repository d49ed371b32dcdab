"""A persistent Dagster instance with pools, as dagster.yaml configures them."""

from pathlib import Path

import dagster as dg

DAGSTER_YAML = """\
concurrency:
  pools:
    granularity: op
    default_limit: 1
  runs:
    max_concurrent_runs: 4
    tag_concurrency_limits:
      - {key: ocr_assets/gpu_pool, value: {applyLimitPerUniqueValue: true}, limit: 3}
storage:
  custom:
    module: ocr_assets.instance_storage
    class: InstanceStorage
    config:
      base_dir: .dagster/storage
compute_logs:
  module: dagster._core.storage.local_compute_log_manager
  class: LocalComputeLogManager
  config:
    base_dir: .dagster/compute_logs
telemetry:
  enabled: false
"""


def make_home(folder: Path, text: str = DAGSTER_YAML) -> Path:
    """A folder for `DAGSTER_HOME`."""
    folder.mkdir()
    (folder / "dagster.yaml").write_text(text)
    return folder


def limit_of(instance: dg.DagsterInstance, pool: str = "gpu") -> int | None:
    """A pool's limit, its default included."""
    return instance.event_log_storage.get_concurrency_info(pool).limit


def set_behind_our_back(instance: dg.DagsterInstance, limit: int, pool: str = "gpu") -> None:
    """As the web UI and `dagster instance concurrency set` do."""
    instance.event_log_storage.set_concurrency_slots(pool, limit)


def add_run(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus, tags: dict[str, str] | None = None
) -> dg.DagsterRun:
    """A run that is only recorded."""
    return instance.add_run(dg.DagsterRun(job_name="daily_job", status=status, tags=tags))
