"""The page as text, before a browser has seen it."""

import base64
import hashlib
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest

from ocr_assets.coverage import METRICS, FilterRule
from ocr_assets.reasons import Fault, Status
from ocr_assets.reports.coverage_page import (
    NAME_CHARACTERS,
    PROFILE_BYTES,
    fitting_profiles,
    name_shown,
)
from ocr_assets.reports.thresholds import threshold_grid
from tests.reports.synthetic_day import UNREADABLE, SyntheticDay, coverage

RULE = FilterRule(max_area_ratio=0.1)
HOSTILE = "</script><script>alert(1)</script><!--<script>\"'&\u202e.mp4"


class Elements(HTMLParser):
    """Start tags with their attributes, and the text of every script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] == "script" and self.cdata_elem == "script":
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    day = SyntheticDay(tmp_path_factory.mktemp("page"))
    samples = [
        ("kept.mp4", [coverage(0.05)]),
        ("dropped.mp4", [coverage(0.2)]),
        ("bad.mp4", [UNREADABLE]),
        (HOSTILE, [Fault(Status.DAMAGED, HOSTILE)]),
    ]
    day.write(samples, RULE)
    return day.report().read_text()


def test_the_policy_names_every_script_and_lets_nothing_be_loaded(html: str) -> None:
    elements = Elements(html)
    policies = [
        attributes["content"] or ""
        for tag, attributes in elements.found
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert len(policies) == 1
    policy = dict(part.strip().split(" ", 1) for part in policies[0].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["img-src"] == "data:"
    data, *run = elements.scripts
    json.loads(data)
    hashes = {
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in run
    }
    assert set(policy["script-src"].split()) == hashes


def test_no_element_refers_to_anything_outside_the_page(html: str) -> None:
    for tag, attributes in Elements(html).found:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "srcset", "action"}:
                assert re.match(r"#|data:image/jpeg;base64,", value or ""), (tag, name, value)


def test_a_name_ends_no_script_and_is_whole_in_the_data(html: str) -> None:
    scripts = Elements(html).scripts
    assert len(scripts) == 3
    assert not any(sign in scripts[0] for sign in "<>&")
    names = [example["id"] for example in json.loads(scripts[0])["examples"]]
    assert names[-1] == HOSTILE.replace("\u202e", r"\u202e")


def test_the_data_counts_every_sample_once_for_every_metric(html: str) -> None:
    data = json.loads(Elements(html).scripts[0])
    tables = json.loads(zlib.decompress(base64.b64decode(data["profiles"])))
    assert list(tables) == list(METRICS)
    for table in tables.values():
        counts = base64.b64decode(table["counts"])
        assert sum(counts[::4]) == 4


def test_a_quarantined_sample_is_shown_with_the_paths_that_it_is_because_of(tmp_path: Path) -> None:
    day = SyntheticDay(tmp_path)
    videos = [coverage(0.2), UNREADABLE, coverage(0.3), UNREADABLE]
    day.write([("sample.mp4", videos)], RULE)
    assert '<td class="path">/videos/1sample.mp4 and 1 more</td>' in day.report().read_text()


def test_ratios_have_as_many_digits_as_tell_on_which_side_they_lie(tmp_path: Path) -> None:
    day = SyntheticDay(tmp_path)
    day.write([("near.mp4", [coverage(0.1003)])], RULE)
    assert "drop, ocr_area_ratio 0.1003<" in day.report().read_text()


def test_where_there_is_too_much_to_tell_thresholds_are_farther_apart() -> None:
    samples = pl.DataFrame(
        {"verdict": ["keep"] * 25_000}
        | {metric: np.random.default_rng(0).random((25_000, 40)) for metric in METRICS}
    ).with_columns(pl.col(METRICS).arr.to_list())
    grid, told = fitting_profiles(samples, RULE)
    assert len(told) <= PROFILE_BYTES
    assert len(grid) < len(threshold_grid(RULE))
    assert {0, 0.1, 1, 100} < set(grid.tolist())
    (few, _) = fitting_profiles(samples.head(100), RULE)
    assert few.tolist() == threshold_grid(RULE).tolist()


def test_long_names_are_shown_without_their_middle() -> None:
    assert name_shown("a" * NAME_CHARACTERS) == "a" * NAME_CHARACTERS
    shown = name_shown("begin" + "a" * 5000 + "end.mp4")
    assert shown.startswith("begin")
    assert " ... " in shown
    assert shown.endswith("end.mp4")
    assert len(shown) == NAME_CHARACTERS + len(" ... ")
    assert name_shown("a\nb\u202e") == r"a\nb\u202e"


def test_a_report_is_the_same_when_it_is_made_again(tmp_path: Path) -> None:
    day = SyntheticDay(tmp_path)
    day.write([(f"{index}.mp4", [coverage(index / 200)]) for index in range(200)], RULE)
    assert day.report().read_bytes() == day.report().read_bytes()


def test_a_day_that_was_never_judged_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(dg.Failure, match="materialise filtered_dataset"):
        SyntheticDay(tmp_path).report()
