"""Section `detector`: EasyOCR's `Reader.detect` against ours, and the extraction of boxes apart."""

from collections.abc import Sequence
from typing import Any

from tests.benchmarks.apart import run_apart
from tests.benchmarks.measure import paired_ratios, spread
from tests.benchmarks.report import Section, Table, Target, milliseconds, seconds, times
from tests.benchmarks.settings import Settings

SIZES = [(640, 360), (1280, 720), (1920, 1080)]
QUICK_SIZES = [(640, 360)]
PRECISIONS = ["exact", "auto"]


def measure_detector(settings: Settings) -> Section:
    """Both in one process, in turn, on pictures with a little text and on pages full of words."""
    rows = run_apart(
        "detector_process",
        sizes=QUICK_SIZES if settings.quick else SIZES,
        rounds=settings.rounds,
        precisions=PRECISIONS,
    )
    largest = rows[-1]  # dense
    ratio = spread(_extraction_ratios(largest)).median
    return Section(
        name="detector",
        tables=[
            Table(
                "seconds a frame: EasyOCR frame after frame on all cores, ours a frame a core",
                ["frame", "EasyOCR", *PRECISIONS, *(f"EasyOCR / {name}" for name in PRECISIONS)],
                [
                    [
                        _name(row),
                        *(seconds(row["seconds"][name]) for name in ("easyocr", *PRECISIONS)),
                        *(times(_ratios(row, name)) for name in PRECISIONS),
                    ]
                    for row in rows
                ],
            ),
            Table(
                "extraction of boxes from the same score maps",
                ["frame", "boxes", "EasyOCR", "ours", "EasyOCR / ours", "same boxes"],
                [
                    [
                        _name(row),
                        str(row["boxes"]["easyocr"]),
                        milliseconds(row["extraction_seconds"]["easyocr"]),
                        milliseconds(row["extraction_seconds"]["ours"]),
                        times(_extraction_ratios(row)),
                        "yes" if row["extraction_same"] else "NO",
                    ]
                    for row in rows
                ],
            ),
        ],
        targets=[Target(f"extraction, {_name(largest)}, EasyOCR / ours", ratio, 15.0, ">=")],
        figures={"frames": rows},
        notes=[_sameness(rows, name) for name in PRECISIONS],
    )


def _name(row: dict[str, Any]) -> str:
    return f"{row['width']}x{row['height']} {'dense' if row['dense'] else 'little'}"


def _ratios(row: dict[str, Any], precision: str) -> list[float]:
    return paired_ratios(row["seconds"]["easyocr"], row["seconds"][precision])


def _extraction_ratios(row: dict[str, Any]) -> list[float]:
    return paired_ratios(row["extraction_seconds"]["easyocr"], row["extraction_seconds"]["ours"])


def _sameness(rows: Sequence[dict[str, Any]], precision: str) -> str:
    same = sum(row["same"][precision] for row in rows)
    return f"{precision}: the boxes are EasyOCR's, to the pixel, on {same} of {len(rows)} frames"
