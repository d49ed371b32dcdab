"""The report of a day as one HTML file that needs nothing else: no server, no network."""

import base64
import functools
import hashlib
import json
import re
import shlex
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any

import jinja2
import numpy as np
import polars as pl
from markupsafe import Markup
from numpy.typing import NDArray

from ocr_assets.coverage import METRICS, FilterRule, decimals
from ocr_assets.explore import rule_sentence
from ocr_assets.gpu.sizes import GIB
from ocr_assets.plain_text import printable
from ocr_assets.reasons import MEANINGS
from ocr_assets.reports import charts
from ocr_assets.reports.about import About, Reported, dataset_digest
from ocr_assets.reports.costs import DetectionCost, detection_cost, stage_costs
from ocr_assets.reports.examples import PER_REASON, Examples
from ocr_assets.reports.pictures import FramePicture
from ocr_assets.reports.ratio_bins import bin_edges, histogram
from ocr_assets.reports.thresholds import STEPS_PER_UNIT, all_profiles, threshold_grid
from ocr_assets.reports.vega_library import vega_library
from ocr_assets.tables.schemas import DROP, KEEP, QUARANTINE

FILES = "page_files"
SCRIPTS = ("counting.js", "explorer.js")
NAME_CHARACTERS = 300
# A page of a day of 100,000 samples is to stay below 15 MB; examples.py bounds the rest of it.
PROFILE_BYTES = 8_000_000
MEANINGS_OF_METRICS = {
    "ocr_area_ratio": "area of all boxes / area of the frame, mean over the frames",
    "union_area_ratio": "share of the frame under text, mean over the frames",
    "max_union_area_ratio": "share of the frame under text, of the most covered frame",
    "subtitle_zone_ratio": "share of the frame that is text in its bottom quarter",
    "corner_ratio": "share of the frame that is text in its four corners",
    "centre_ratio": "share of the frame that is text in its middle",
    "static_text_ratio": "share of the frame under text that stays in its place, as watermarks do",
}

Row = dict[str, Any]


@dataclass(frozen=True)
class CoverageReport:
    """What a report is made of.

    Attributes:
        date: The day, as YYYY-MM-DD.
        data: The folder of the tables.
        rule: What the samples were judged by.
        samples: Rows of `filtered_dataset`.
        examples: Which of them to show.
        pictures: By video_id.
        heat_map: (27, 48), shares of the frames with text there.
        reported: What the steps reported, by asset, as far as it is known.
    """

    date: str
    data: str
    rule: FilterRule
    samples: pl.DataFrame
    examples: Examples
    pictures: Mapping[str, FramePicture]
    heat_map: NDArray[np.float64]
    reported: Mapping[str, Reported]

    @functools.cached_property
    def counts(self) -> dict[str, int]:
        """Samples by verdict."""
        return _counts(self.samples)

    @functools.cached_property
    def ratios(self) -> dict[str, pl.Series]:
        """By metric: the ratios of all videos that are known."""
        return {metric: self.samples[metric].explode().drop_nulls() for metric in METRICS}

    @functools.cached_property
    def bins(self) -> dict[str, list[int]]:
        """By metric: how many of the ratios lie in each bin of `bin_edges`."""
        edges = bin_edges().tolist()
        return {metric: histogram(ratios, edges) for metric, ratios in self.ratios.items()}


def coverage_html(report: CoverageReport) -> str:
    """The page.

    Whatever names of files hold is text in it, and its policy lets no other script run and nothing
    be loaded.
    """
    script, vega = "".join(map(_file, SCRIPTS)), vega_library()
    shown, metrics = _Shown(report), _metrics(report)
    reported = {asset: one.numbers for asset, one in report.reported.items()}
    page = {
        "date": report.date,
        "data": printable(report.data),
        "rule": report.rule,
        "summary": summary(report.samples, report.rule),
        "counts": report.counts,
        "colours": charts.COLOURS_OF_VERDICTS,
        "metrics": metrics,
        "several_videos": bool((report.samples["paths"].list.len() > 1).any()),
        "any_covered": bool(report.examples.most_covered),
        "most_covered": shown.figures(report.examples.most_covered),
        "random_kept": shown.figures(report.examples.random_kept),
        "quarantined": _quarantined(report.samples, report.rule),
        "heat_map_alt": _where(report),
        "stages": stage_costs(reported, int(report.samples["paths"].list.len().sum())),
        "detection": _detection(detection_cost(reported)),
        "data_json": _for_script(_data(report, shown, metrics)),
    }
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_file("report.html.jinja")).render(
        page=page,
        style=Markup(_file("report.css")),
        vega=Markup(vega),
        script=Markup(script),
        script_hashes=[_hash(vega), _hash(script)],
    )


def summary(samples: pl.DataFrame, rule: FilterRule) -> str:
    """A day in a sentence or two, as the page has it.

    Args:
        samples: `verdict` of each.
        rule: What they were judged by.
    """
    if samples.is_empty():
        return "The day has no samples."
    counts = _counts(samples)
    return (
        f"{samples.height:,} samples: {counts[KEEP]:,} kept, {counts[DROP]:,} dropped, "
        f"{counts[QUARANTINE]:,} quarantined. In use: {rule_sentence(rule)}."
    )


class _Shown:
    """The samples that are shown by name, as the page takes them."""

    def __init__(self, report: CoverageReport) -> None:
        self._report = report
        self._pictured = dict(reversed(report.examples.pictured))
        shown = report.examples.shown
        rows = report.samples[shown].iter_rows(named=True)
        self.rows: dict[int, Row] = dict(zip(shown, rows, strict=True))

    def examples(self) -> list[Row]:
        return [self._example(place, row) for place, row in self.rows.items()]

    def figures(self, pairs: Sequence[tuple[int, int]]) -> list[Row]:
        found = []
        for sample, video in pairs:
            row = self.rows[sample]
            picture = self._picture(row, video)
            if picture is not None:
                rule = self._report.rule
                ratio = row[rule.metric][video]
                found.append(
                    picture
                    | {
                        "sample_id": name_shown(row["sample_id"]),
                        "verdict": row["verdict"],
                        "ratio": "-" if ratio is None else f"{ratio:.{decimals(ratio, rule)}f}",
                    }
                )
        return found

    def _example(self, place: int, row: Row) -> Row:
        video = self._pictured.get(place)
        picture = self._picture(row, video) if video is not None else None
        return {
            "id": name_shown(row["sample_id"]),
            "path": _paths(row["paths"]),
            "verdict": row["verdict"],
            "reason": name_shown(row["reason"]),
            "ratios": {metric: row[metric] for metric in METRICS},
            "picture": picture and picture | {"video": video},
        }

    def _picture(self, row: Row, video: int) -> Row | None:
        picture = self._report.pictures.get(row["video_ids"][video])
        if picture is None:
            return None
        boxes = f"{picture.boxes} text box{'' if picture.boxes == 1 else 'es'}"
        path = name_shown(row["paths"][video])
        return {
            "path": path,
            "jpeg": base64.b64encode(picture.jpeg).decode(),
            "width": picture.width,
            "height": picture.height,
            "alt": (
                f"Frame {picture.frame_index + 1} of {picture.frames} of "
                f"{path}: {boxes} outlined, on "
                f"{picture.union_area_ratio:.1%} of it"
            ),
        }


def _counts(samples: pl.DataFrame) -> dict[str, int]:
    verdicts = samples["verdict"]
    return {verdict: int((verdicts == verdict).sum()) for verdict in (KEEP, DROP, QUARANTINE)}


def name_shown(text: str) -> str:
    """A name on one line, without its middle if it is long."""
    plain = printable(text)
    half = NAME_CHARACTERS // 2
    return plain if len(plain) <= NAME_CHARACTERS else f"{plain[:half]} ... {plain[-half:]}"


def _paths(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{name_shown(paths[0])}{more}" if paths else "no videos"


def _data(report: CoverageReport, shown: _Shown, metrics: list[Row]) -> Row:
    """What the script works with, and what the report says of itself."""
    grid, profiles = fitting_profiles(report.samples, report.rule)
    without_videos = report.samples.filter(pl.col("paths").list.len() == 0)
    return {
        "about": asdict(About(dataset_digest(report.samples), report.reported)),
        "rule": {
            "metric": report.rule.metric,
            "any_or_all": report.rule.any_or_all,
            "min_area_ratio": report.rule.min_area_ratio,
            "max_area_ratio": min(report.rule.max_area_ratio, float(grid[-1])),
        },
        "metrics": metrics,
        "thresholds": grid.tolist(),
        "profiles": profiles,
        "without_videos": _counts(without_videos),
        "edges": bin_edges().tolist(),
        "bins": report.bins,
        "videos": {metric: len(ratios) for metric, ratios in report.ratios.items()},
        "samples": report.samples.height,
        "examples": shown.examples(),
        "histogram": charts.vega(
            charts.histogram_chart(report.bins[report.rule.metric], report.rule)
        ),
        "heat_map": charts.vega(charts.heat_map_chart(report.heat_map)),
        "command": f"ocr-assets explore --data {shlex.quote(report.data)} --date {report.date}",
    }


def _metrics(report: CoverageReport) -> list[Row]:
    metrics = []
    for metric, ratios in report.ratios.items():
        metrics.append(
            {
                "name": metric,
                "short": metric.removesuffix("_ratio").replace("_", " "),
                "meaning": MEANINGS_OF_METRICS[metric],
                "mean": f"{float(np.mean(ratios.to_numpy())):.4f}" if len(ratios) else "-",
                "above_zero": f"{int((ratios > 0).sum()):,} of {len(ratios):,}",
            }
        )
    return metrics


def _quarantined(samples: pl.DataFrame, rule: FilterRule) -> list[Row]:
    """By reason; of several videos with the paths of those that it is because of."""
    groups = []
    quarantined = samples.filter(pl.col("verdict") == QUARANTINE)
    for (reason_code,), rows in quarantined.group_by("reason_code", maintain_order=True):
        groups.append(
            {
                "reason_code": reason_code,
                "count": f"{rows.height:,}",
                "more": rows.height > PER_REASON,
                "meaning": MEANINGS.get(reason_code, ""),
                "samples": [
                    {
                        "sample_id": name_shown(row["sample_id"]),
                        "path": _paths(
                            [
                                path
                                for path, ratio in zip(row["paths"], row[rule.metric], strict=True)
                                if ratio is None
                            ]
                        ),
                        "reason": name_shown(row["reason"]),
                    }
                    for row in rows.head(PER_REASON).iter_rows(named=True)
                ],
            }
        )
    return sorted(groups, key=lambda group: str(group["reason_code"]))


def _where(report: CoverageReport) -> str:
    """The heat map in words."""
    row, column = divmod(int(report.heat_map.argmax()), report.heat_map.shape[1])
    rows, columns = report.heat_map.shape
    most = float(report.heat_map.max())
    if most == 0:
        return "No frame has text."
    return (
        f"Of all sampled frames, at most {most:.1%} have text in one place: "
        f"{(row + 0.5) / rows:.0%} down and {(column + 0.5) / columns:.0%} across. "
        "Dashed lines border the subtitle zone, the corners and the centre."
    )


def _detection(cost: DetectionCost | None) -> list[tuple[str, str]]:
    if cost is None:
        return []
    devices = ", ".join(f"{device} {share:.0%}" for device, share in cost.device_share.items())
    shown = [
        ("frames detected", f"{cost.frames:,}"),
        ("of them known already", f"{cost.frames_reused:,}"),
        ("moves to another device", f"{cost.fallbacks:,}"),
        ("waits for memory", f"{cost.waits:,} ({cost.wait_seconds:.0f} s)"),
        ("out of memory", f"{cost.out_of_memory:,}"),
    ]
    if devices:
        shown.append(("devices", devices))
    if cost.frames_per_second is not None:
        shown.append(("frames per second", f"{cost.frames_per_second:.2f}"))
    if cost.fallback_share is not None:
        shown.append(("on the CPU, though there was a GPU", f"{cost.fallback_share:.0%}"))
    if cost.gpu_peak_bytes is not None:
        shown.append(("peak GPU memory", f"{cost.gpu_peak_bytes / GIB:.2f} GiB"))
    return shown


def fitting_profiles(samples: pl.DataFrame, rule: FilterRule) -> tuple[NDArray[np.float64], str]:
    """Thresholds to choose from, as close together as a page can hold, and what each would do.

    Args:
        samples: `verdict` and the ratios of each.
        rule: What they were judged by; its bounds are among the thresholds.

    Returns:
        The thresholds, ascending, and `all_profiles` of them, compressed.
    """
    for steps in STEPS_PER_UNIT:
        grid = threshold_grid(rule, steps)
        profiles = _deflated(all_profiles(samples, grid))
        if len(profiles) <= PROFILE_BYTES:
            break
    return grid, profiles


def _deflated(value: Mapping[str, Any]) -> str:
    """JSON, compressed, as base64: of profiles, which are nearly as many as samples, a third."""
    return base64.b64encode(zlib.compress(json.dumps(value).encode())).decode()


def _for_script(value: Row) -> Markup:
    """JSON that no name can end the script element from, nor begin another one."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    # Lone surrogates, as of a folder whose name is not UTF-8, cannot be written as they are.
    escaped = re.sub("[<>&\ud800-\udfff]", lambda sign: f"\\u{ord(sign[0]):04x}", text)
    return Markup(escaped)


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _file(name: str) -> str:
    return (resources.files("ocr_assets.reports") / FILES / name).read_text("utf-8")
