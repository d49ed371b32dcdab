"""Which samples of a day are shown by name, and which of them with a picture."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import polars as pl

from ocr_assets.coverage import METRICS, FilterRule
from ocr_assets.reports.ratio_bins import bin_edges
from ocr_assets.tables.schemas import DROP, KEEP, QUARANTINE

# A day of no more samples is shown whole, if it takes no more room than that.
ALL_SAMPLES = 2000
SHOWN_BYTES = 3_500_000
BYTES_OF_A_VIDEO = 140  # seven ratios with all their digits
BYTES_OF_A_SAMPLE = 300
NAME_BYTES = 900  # of an id, a path or a reason, whose middle is left out if it is longer
PER_BIN = 12
PER_REASON = 20
NEAREST = 12
MOST_COVERED = 12
RANDOM_KEPT = 12
PICTURES_PER_BIN = 4
SEED = 0


@dataclass(frozen=True)
class Examples:
    """The choice, as row numbers of the day's samples.

    Attributes:
        shown: Samples to show by name: all, or for each metric some from every range of it, but
            not those that have more videos or longer names than a page can hold.
        pictured: (sample, video) pairs to show with a picture.
        most_covered: The same, most covered first.
        random_kept: The same, kept ones in no particular order.
    """

    shown: list[int]
    pictured: list[tuple[int, int]]
    most_covered: list[tuple[int, int]]
    random_kept: list[tuple[int, int]]


def choose_examples(samples: pl.DataFrame, rule: FilterRule) -> Examples:
    """Chooses what to show; the same samples every time.

    Args:
        samples: Rows of `filtered_dataset`.
        rule: What they were judged by.
    """
    random = np.random.default_rng(SEED)
    judged = _ratios(samples, rule.metric)
    pictured = _pictured(judged, rule, random)
    most_covered = _pairs(
        _ratios(samples, "max_union_area_ratio")
        .filter(pl.col("ratio") > 0)
        .sort("ratio", "sample", "video", descending=[True, False, False])
        .unique("sample", keep="first", maintain_order=True)
        .head(MOST_COVERED)
    )
    kept = _ratios(samples.with_columns(kept=pl.col("verdict") == KEEP), rule.metric, "kept")
    kept = kept.unique("sample", keep="first", maintain_order=True)
    random_kept = _pairs(_some(kept, RANDOM_KEPT, random))
    shown = _shown(samples, [*pictured, *most_covered, *random_kept], random)
    return Examples(
        shown=shown,
        pictured=_among(shown, list(dict.fromkeys([*pictured, *most_covered, *random_kept]))),
        most_covered=_among(shown, most_covered),
        random_kept=_among(shown, random_kept),
    )


def _pictured(
    judged: pl.DataFrame, rule: FilterRule, random: np.random.Generator
) -> list[tuple[int, int]]:
    """The nearest on both sides of the bounds, and some from everywhere for other bounds."""
    chosen: list[tuple[int, int]] = []
    for bound in (rule.max_area_ratio, rule.min_area_ratio):
        above = (
            judged.filter(pl.col("ratio") > bound).sort("ratio", "sample", "video").head(NEAREST)
        )
        below = judged.filter(pl.col("ratio") <= bound)
        below = below.sort("ratio", "sample", "video", descending=[True, False, False])
        below = below.head(NEAREST)
        chosen += [*_pairs(above), *_pairs(below)]
    for one in _bins(judged):
        chosen += _pairs(_some(one, PICTURES_PER_BIN, random))
    return list(dict.fromkeys(chosen))


def _shown(
    samples: pl.DataFrame, pictured: list[tuple[int, int]], random: np.random.Generator
) -> list[int]:
    if samples.height <= ALL_SAMPLES:
        return _within_bounds(samples, range(samples.height))
    chosen = {sample for sample, _ in pictured}
    for metric in METRICS:
        for one in _bins(_ratios(samples, metric)):
            chosen.update(_some(one, PER_BIN, random)["sample"].to_list())
    rows = samples.select("verdict", "reason_code").with_row_index("sample")
    for verdict in (DROP, QUARANTINE):
        for _, one in rows.filter(pl.col("verdict") == verdict).group_by(
            "reason_code", maintain_order=True
        ):
            chosen.update(one.head(PER_REASON)["sample"].to_list())
    return _within_bounds(samples, chosen)


def _within_bounds(samples: pl.DataFrame, chosen: Collection[int]) -> list[int]:
    """All of the chosen samples, unless they take too much room: then those that take little."""
    names = pl.concat_list("sample_id", pl.col("paths").list.first(), "reason")
    room = samples.select(
        BYTES_OF_A_SAMPLE
        + BYTES_OF_A_VIDEO * pl.col(METRICS[0]).list.len().cast(pl.Int64)
        + names.list.eval(pl.element().str.len_bytes().clip(0, NAME_BYTES)).list.sum()
    )
    of_each = room.to_series().to_list()
    shown, total = [], 0
    for sample in sorted(chosen, key=lambda sample: (of_each[sample], sample)):
        total += of_each[sample]
        if total > SHOWN_BYTES:
            break
        shown.append(sample)
    return sorted(shown)


def _among(shown: Collection[int], pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    known = set(shown)
    return [(sample, video) for sample, video in pairs if sample in known]


def _ratios(samples: pl.DataFrame, metric: str, only: str | None = None) -> pl.DataFrame:
    """(sample, video, ratio) of every video whose ratio is known."""
    rows = samples.with_row_index("sample")
    if only is not None:
        rows = rows.filter(only)
    return (
        rows.select(
            pl.col("sample").cast(pl.Int64),
            pl.int_ranges(pl.col(metric).list.len().cast(pl.Int64)).alias("video"),
            pl.col(metric).alias("ratio"),
        )
        .filter(pl.col("ratio").list.len() > 0)
        .explode("video", "ratio")
        .drop_nulls("ratio")
    )


def _bins(ratios: pl.DataFrame) -> list[pl.DataFrame]:
    # Ratios above 1 are in a bin of their own.
    places = np.searchsorted(bin_edges(), ratios["ratio"].to_numpy(), side="right")
    return ratios.with_columns(bin=pl.Series(places)).partition_by("bin", maintain_order=True)


def _some(rows: pl.DataFrame, most: int, random: np.random.Generator) -> pl.DataFrame:
    if rows.height <= most:
        return rows
    return rows[np.sort(random.choice(rows.height, most, replace=False))]


def _pairs(rows: pl.DataFrame) -> list[tuple[int, int]]:
    return [(int(sample), int(video)) for sample, video in rows.select("sample", "video").rows()]
