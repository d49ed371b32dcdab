"""Who does the work: this process, or a Ray cluster."""

import dagster as dg

from ocr_assets.compute.interface import Compute
from ocr_assets.compute.local import LocalCompute


class ComputeResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where frames are sampled and text is found."""

    def engine(self) -> Compute:
        """What does the work."""
        return LocalCompute()
