"""How a run is executed: all of its steps in the run's own process, one after the other.

The assets are a chain, so there is nothing to do side by side within a run; one process starts
once, keeps one model for all of its partitions, and takes its leases with it when it is killed.
"""

import contextlib
import sys
import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any, cast

import dagster as dg
import pydantic

# Dagster 1.13 has no public names for these; pyproject.toml bounds its version.
from dagster._core.execution.context.system import (
    PlanOrchestrationContext,
    StepExecutionContext,
)
from dagster._core.execution.plan.objects import UserFailureData, step_failure_event_from_exc_info
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.step import ExecutionStep
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor

from ocr_assets.assets.filtered_dataset import FilteredDatasetConfig
from ocr_assets.assets.sampled_frames import SampledFramesConfig

CONFIGS: Mapping[str, type[dg.Config]] = {
    "sampled_frames": SampledFramesConfig,
    "filtered_dataset": FilteredDatasetConfig,
}

FIRST_LOOK_SECONDS, LAST_LOOK_SECONDS = 0.5, 2.0


@dg.executor(name="one_process", config_schema={})
def one_process_executor(_: dg.InitExecutorContext) -> "OneProcessExecutor":
    """Runs the steps in the run's own process; refuses bad config before the first of them."""
    return OneProcessExecutor(RetryMode.ENABLED)


class OneProcessExecutor(InProcessExecutor):
    """Dagster's own, but for what it does before the first step and while there is none to run.

    Dagster's loops without a pause, on a whole core, while a step waits for a slot of a pool, and
    cannot be cancelled meanwhile. This one sleeps, and can.
    """

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """The run's events.

        A run that cannot begin, because a step's config or a resource is not valid, fails as if the
        step had failed: everything else Dagster takes for a crash, and retries.

        Raises:
            dg.DagsterExecutionInterruptedError: The run was cancelled while it waited.
        """
        steps = execution_plan.step_keys_to_execute
        failing = steps[0]
        try:
            for failing in steps:
                check_config(failing, plan_context.dagster_run.run_config)
            failing = steps[0]
            yield from self._execute(plan_context, execution_plan)
        except (dg.Failure, dg.DagsterResourceFunctionError) as error:
            said = error.description if isinstance(error, dg.Failure) else str(error.__cause__)
            step = cast("ExecutionStep", execution_plan.get_step_by_key(failing))
            yield step_failure_event_from_exc_info(
                cast("StepExecutionContext", plan_context.for_step(step)),
                sys.exc_info(),
                UserFailureData("cannot begin", said),  # type: ignore[no-untyped-call]
            )

    def _execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        instance, run_id = plan_context.instance, plan_context.run_id
        steps = cast("Generator[dg.DagsterEvent]", super().execute(plan_context, execution_plan))
        with contextlib.closing(steps):
            for event in steps:
                yield event
                if (pool := _blocking_pool(event)) is not None:
                    _wait_for_slot(instance, pool, run_id, str(event.step_key))
                elif event.is_step_up_for_retry:
                    _sleep(event.step_retry_data.seconds_to_wait or 0.0)


def check_config(step_key: str, run_config: Mapping[str, Any]) -> None:
    """Validates a step's config; Dagster by itself does so when the step's turn comes.

    Args:
        step_key: The step.
        run_config: The whole run's.

    Raises:
        dg.Failure: A value is out of bounds; the description names the field.
    """
    config = CONFIGS.get(step_key)
    if config is None:
        return
    try:
        config(**run_config.get("ops", {}).get(step_key, {}).get("config", {}))
    except pydantic.ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'config'}: {one['msg']}" for one in error.errors()
        )
        raise dg.Failure(
            f"the config of {step_key} is not valid, nothing was done: {wrong}. "
            "What to do: launch the run again with other values"
        ) from error


def _blocking_pool(event: dg.DagsterEvent) -> str | None:
    """The pool that a step waits for, if that is what the event says."""
    if event.event_type != dg.DagsterEventType.ENGINE_EVENT or event.step_key is None:
        return None
    pool = event.engine_event_data.metadata.get("pool")
    return pool.pool if isinstance(pool, dg.PoolMetadataValue) else None


def _wait_for_slot(instance: dg.DagsterInstance, pool: str, run_id: str, step_key: str) -> None:
    """Returns once the pool has assigned a slot to the step, or knows nothing of its claim."""
    pause = FIRST_LOOK_SECONDS
    while any(
        (claim.run_id, claim.step_key, claim.assigned_timestamp) == (run_id, step_key, None)
        for claim in instance.event_log_storage.get_concurrency_info(pool).pending_steps
    ):
        _sleep(pause)
        pause = min(pause * 1.2, LAST_LOOK_SECONDS)


def _sleep(seconds: float) -> None:
    with dg.raise_execution_interrupts():
        time.sleep(seconds)
