"""How a run is executed: all of its steps in the run's own process, one after the other.

The assets are a chain, so there is nothing to do side by side within a run; one process starts
once, keeps one model for all of its partitions, and takes its leases with it when it is killed.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, cast

import dagster as dg
import pydantic

# Dagster 1.13 has no public names for these; pyproject.toml bounds its version.
from dagster._core.events import EngineEventData
from dagster._core.execution.api import ExecuteRunWithPlanIterable
from dagster._core.execution.context.system import (
    PlanExecutionContext,
    PlanOrchestrationContext,
    StepExecutionContext,
)
from dagster._core.execution.context_creation_job import PlanExecutionContextManager
from dagster._core.execution.plan.execute_plan import inner_plan_execution_iterator
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.execution.plan.objects import UserFailureData, step_failure_event_from_exc_info
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.step import ExecutionStep
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor
from dagster._core.system_config.objects import ResolvedRunConfig
from sqlalchemy.exc import InternalError

from ocr_assets import run_lock
from ocr_assets.assets.failures import describe, may_be_retried, retry_run_after_fault
from ocr_assets.assets.filtered_dataset import FilteredDatasetConfig
from ocr_assets.assets.ocr_boxes import OcrBoxesConfig
from ocr_assets.assets.sampled_frames import SampledFramesConfig
from ocr_assets.assets.video_manifest import VideoManifestConfig
from ocr_assets.gpu.state_directory import StateError
from ocr_assets.run_launcher import RunProcess

CONFIGS: Mapping[str, type[dg.Config]] = {
    "video_manifest": VideoManifestConfig,
    "sampled_frames": SampledFramesConfig,
    "ocr_boxes": OcrBoxesConfig,
    "filtered_dataset": FilteredDatasetConfig,
}

LOOK_SECONDS = 2.0  # how often a step that waits for a slot asks for it
PAUSE_SECONDS = 0.5


@dg.executor(name="one_process", config_schema={})
def one_process_executor(_: dg.InitExecutorContext) -> "OneProcessExecutor":
    """Runs the steps in the run's own process; refuses bad config before the first of them."""
    return OneProcessExecutor(RetryMode.ENABLED)


class OneProcessExecutor(InProcessExecutor):
    """Dagster's own, but for what it does before the first step and while a step waits for a slot.

    It writes down which process the run has, for `HostRunLauncher`. A run that cannot begin,
    because a step's config or a resource is not valid, fails as if the step had failed: everything
    else Dagster takes for a crash, and retries.
    """

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """The run's events.

        Raises:
            dg.DagsterExecutionInterruptedError: The run was cancelled.
            dg.DagsterResourceFunctionError: A resource failed in a way that may not last.
        """
        run = plan_context.dagster_run
        process = RunProcess.of(run.run_id, os.getpid())
        if process is not None:
            plan_context.instance.add_run_tags(run.run_id, process.as_tag())
        with contextlib.ExitStack() as until_the_end:
            try:
                until_the_end.enter_context(run_lock.held(run.run_id))
            except (StateError, OSError) as error:
                yield dg.DagsterEvent.engine_event(
                    plan_context,
                    f"If the process of this run dies, not all may notice: {error}",
                    EngineEventData.in_process(os.getpid()),
                )
            yield from self._checked(plan_context, execution_plan)

    def _checked(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        run = plan_context.dagster_run
        steps = execution_plan.step_keys_to_execute
        config = ResolvedRunConfig.build(plan_context.job.get_definition(), run.run_config)
        for step_key in steps:
            try:
                check_config(step_key, config.ops[step_key].config)
            except dg.Failure as error:
                yield _cannot_begin(plan_context, execution_plan, step_key, str(error.description))
                return
        try:
            yield from _execute(plan_context, execution_plan)
        except dg.DagsterResourceFunctionError as error:
            cause = error.user_exception
            if may_be_retried(cause):
                raise
            yield _cannot_begin(plan_context, execution_plan, steps[0], describe(cause))


def check_config(step_key: str, config: Any) -> None:
    """Validates a step's config; Dagster by itself does so when the step's turn comes.

    Args:
        step_key: The step.
        config: Its config, environment variables resolved.

    Raises:
        dg.Failure: A value is out of bounds; the description names the field.
    """
    if step_key not in CONFIGS:
        return
    try:
        CONFIGS[step_key](**config)
    except pydantic.ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'config'}: {one['msg']}" for one in error.errors()
        )
        raise dg.Failure(
            f"the config of {step_key} is not valid, nothing was done: {wrong}. "
            "What to do: launch the run again with other values"
        ) from error


def _cannot_begin(
    plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan, step_key: str, said: str
) -> dg.DagsterEvent:
    """The failure of a step that was not started; call it where the error is being handled."""
    retry_run_after_fault(plan_context.instance, plan_context.dagster_run, wanted=False)
    step = cast("ExecutionStep", execution_plan.get_step_by_key(step_key))
    failure: dg.DagsterEvent = step_failure_event_from_exc_info(
        cast("StepExecutionContext", plan_context.for_step(step)),
        sys.exc_info(),
        UserFailureData("cannot begin", said),  # type: ignore[no-untyped-call]
    )
    return failure


def _execute(
    plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
) -> Iterator[dg.DagsterEvent]:
    pid = os.getpid()
    yield dg.DagsterEvent.engine_event(
        plan_context,
        f"Executing steps in process (pid: {pid})",
        EngineEventData.in_process(pid, list(execution_plan.step_keys_to_execute)),
    )
    yield from ExecuteRunWithPlanIterable(
        execution_plan=execution_plan,
        iterator=_steps,
        execution_context_manager=PlanExecutionContextManager(
            job=plan_context.job,
            retry_mode=plan_context.retry_mode,
            execution_plan=execution_plan,
            run_config=plan_context.run_config,
            dagster_run=plan_context.dagster_run,
            instance=plan_context.instance,
            raise_on_error=plan_context.raise_on_error,
            output_capture=plan_context.output_capture,
        ),
    )


def _steps(
    job_context: PlanExecutionContext, execution_plan: ExecutionPlan
) -> Iterator[dg.DagsterEvent]:
    with PatientConcurrency(job_context.instance, job_context.dagster_run) as concurrency:
        yield from inner_plan_execution_iterator(job_context, execution_plan, concurrency)


class PatientConcurrency(InstanceConcurrencyContext):
    """Claims slots of pools as Dagster does, but sleeps in between.

    Dagster's own takes the pause until its next look to be 0 at most, and so loops on a whole core
    for as long as a step waits; nor can the run be cancelled meanwhile.
    """

    def claim(self, concurrency_key: str, step_key: str, step_priority: int = 0) -> bool:
        """Whether the step has its slot."""
        if step_key not in self._pending_claims:
            # Read before its first step, and hours old by now: a pool that had no limit then would
            # be given the default, over the one that it has got meanwhile.
            self._pools = None
        try:
            claimed = super().claim(concurrency_key, step_key, step_priority)
        except InternalError:
            # Another run gave the pool its first limit since we looked. On PostgreSQL Dagster 1.13
            # goes on in the transaction that this has failed. Now the limit is there.
            self._pending_claims.discard(step_key)
            self._pools = None
            claimed = super().claim(concurrency_key, step_key, step_priority)
        if step_key in self._pending_claims:
            # Dagster's looks become as rare as every 15 s, in which a slot would lie idle.
            soon = time.time() + LOOK_SECONDS
            self._pending_timeouts[step_key] = min(self._pending_timeouts[step_key], soon)
        return claimed

    def interval_to_next_pending_claim_check(self) -> float:
        """Sleeps a little; then it is time to look."""
        with dg.raise_execution_interrupts():
            time.sleep(PAUSE_SECONDS)
        return 0.0
