"""Who does the work: the run's own process, or a Ray cluster."""

import contextlib
import os
from collections.abc import Iterator
from typing import Literal, Self

import dagster as dg
from pydantic import Field

from ocr_assets.compute.interface import Compute
from ocr_assets.compute.local import LocalCompute
from ocr_assets.compute.ray_environment import RayMissingError, guard_own_cluster
from ocr_assets.config_fields import number


class ComputeResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where frames are sampled and text is found; what comes of it is the same."""

    engine: Literal["local", "ray"] = Field(
        default="local",
        description=(
            "`local`: the run's own process, its decode workers and its detector. `ray`: a Ray "
            "cluster, whose detectors all runs share; needs the extra `ray`."
        ),
    )
    address: str | None = Field(
        default=None,
        min_length=1,
        description=(
            "The Ray cluster: `host:port` or `auto` from one of its nodes, `ray://host:port` from "
            "elsewhere. null: RAY_ADDRESS if that is set, else a cluster on this host for the time "
            "of the run."
        ),
    )
    namespace: str = Field(
        default="ocr_assets",
        pattern=r"^[A-Za-z0-9_.-]+$",
        description="The Ray namespace in which detectors are shared.",
    )
    max_tries: int = number(
        3,
        1,
        100,
        (
            "How often a unit of work is begun on a cluster, if whatever works on it dies, before "
            "its videos are quarantined (`worker_died`)."
        ),
    )
    max_detectors: int | None = number(
        None,
        1,
        10_000,
        "Most detectors at once on a cluster; null: as many as its GPUs and, by policy, CPUs hold.",
    )
    steps_at_once: int = number(
        4,
        1,
        1000,
        (
            "Most steps of `sampled_frames`, and as many of `ocr_boxes`, at once on a cluster: the "
            "limit of their pools. They share its workers."
        ),
    )
    units_ahead: int = number(
        3,
        1,
        64,
        "Units of work of a step that are under way or wait at each worker, so that none idles.",
    )

    @contextlib.contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Self]:
        """Connects to the cluster for as long as the run needs it.

        Raises:
            RayMissingError: The extra is not installed.
            ClusterUnreachableError: The cluster cannot be reached; an OSError.
        """
        if self.engine == "local":
            yield self
            return
        address = self.address or os.environ.get("RAY_ADDRESS") or None
        if address is None:
            guard_own_cluster()
        try:
            from ocr_assets.compute.on_ray.cluster import connected
        except ImportError as error:
            raise RayMissingError(
                f"the engine `ray` of the resource compute cannot be loaded: {error}"
            ) from error

        with connected(address, self.namespace, context):
            yield self

    def workers(self) -> Compute:
        """Those who do the work."""
        if self.engine == "local":
            return LocalCompute()
        from ocr_assets.compute.on_ray.engine import RayCompute

        return RayCompute(
            namespace=self.namespace,
            max_tries=self.max_tries,
            max_detectors=self.max_detectors,
            units_ahead=self.units_ahead,
        )
