"""Says what `cluster_model` works out: for the section `scale`, or for a cluster of one's own.

`python -m tests.benchmarks.forecast FILE --nodes 4 --gpus-a-node 8` takes what work costs from the
JSON that `python -m tests.benchmarks scale --json FILE` has written.
"""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tests.benchmarks.cluster_model import Cluster, Costs, forecast, nodes_that_help
from tests.benchmarks.report import Section, Table, print_section

VIDEOS = 10_000_000
HOUR, TERABYTE = 3600, 1e12


def forecast_table(costs: Costs, clusters: Sequence[Cluster], videos: int = VIDEOS) -> Table:
    """What clusters would get through; one row each."""
    rows = []
    for cluster in clusters:
        found = forecast(costs, cluster)
        boxes = found.flows["ocr_boxes"]
        rows.append(
            [
                f"{cluster.nodes} x {cluster.gpus_a_node}",
                *(
                    f"{flow.videos_a_second:.0f} ({flow.bottleneck})"
                    for flow in found.flows.values()
                ),
                f"{boxes.busy['GPUs']:.0%}",
                f"{nodes_that_help(costs, cluster, 'ocr_boxes'):.0f}",
                f"{videos * found.seconds_a_video / HOUR:.1f} h",
                f"{videos / boxes.videos_a_second / HOUR * cluster.gpus:.0f}",
            ]
        )
    example = clusters[0]
    return Table(
        "SIMULATED: videos a second of each step (what limits it); a node has "
        f"{example.cores_a_gpu} cores a GPU and {example.network_bytes_a_second / 1e9:g} GB/s, the "
        f"storage {example.storage_bytes_a_second / 1e9:g} GB/s",
        [
            "nodes x GPUs",
            "video_manifest",
            "sampled_frames",
            "ocr_boxes",
            "GPUs busy",
            "nodes of use to it",
            f"{videos:,} videos",
            "GPU hours",
        ],
        rows,
    )


def forecast_notes(costs: Costs, videos: int = VIDEOS) -> list[str]:
    """What does not depend on the cluster, and what was assumed."""
    frames = videos * costs.frames_a_video
    parts = videos / costs.videos_a_part
    return [
        f"{videos:,} videos: {frames:,} frames in {parts:,.0f} parts, "
        f"{frames * costs.image_bytes / TERABYTE:.1f} TB, "
        f"{frames / costs.gpu_frames_a_second / HOUR:.0f} GPU hours if no GPU waits; "
        f"commits {2 * parts * costs.commit_seconds:.0f} s, if they grow like the number of parts",
        f"the driver: {1000 * costs.boxes_driver_seconds:.2f} ms a unit, and "
        f"{1e9 * costs.wait_seconds:.0f} ns for each unit under way; sampled_frames is taken to "
        "cost it the same",
        f"assumed: {costs.gpu_frames_a_second:g} frames/s a GPU, {costs.image_bytes / 1e6:.2f} MB "
        "a frame; a run of its own for all, one step after the other, no failures",
    ]


def main() -> None:
    """Prints the forecast for one cluster."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.forecast", description=__doc__
    )
    parser.add_argument("file", type=Path, help="what `--json` of the section `scale` wrote")
    parser.add_argument("--videos", type=int, default=VIDEOS, metavar="N")
    for kind in (Cluster, Costs):
        for field in dataclasses.fields(kind):
            default = None if field.default is dataclasses.MISSING else field.default
            parser.add_argument(
                f"--{field.name.replace('_', '-')}",
                type=int if field.type is int else float,
                default=default,
                required=kind is Cluster and default is None,
                metavar="N",
                help=f"see `cluster_model.{kind.__name__}`",
            )
    options = vars(parser.parse_args())
    measured = json.loads(options["file"].read_text())["sections"]["scale"]["figures"]["costs"]
    chosen = {name: options[name] for name in measured if options[name] is not None}
    costs = Costs(**measured | chosen)
    cluster = Cluster(**{field.name: options[field.name] for field in dataclasses.fields(Cluster)})
    table = forecast_table(costs, [cluster], options["videos"])
    notes = forecast_notes(costs, options["videos"])
    print_section(Section("forecast", [table], [], {}, notes), Console(width=120, highlight=False))


if __name__ == "__main__":
    main()
