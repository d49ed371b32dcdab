import json

import dataframely as dy
import pytest

from ocr_assets.coverage import VideoCoverage, judge_sample
from ocr_assets.tables.examples import EXAMPLES, example_frame, example_markdown
from ocr_assets.tables.schemas import FilteredDataset, OcrBoxes, SampledFrames, VideoManifest
from ocr_assets.verdicts import rule_of


@pytest.mark.parametrize("schema", [VideoManifest, SampledFrames, OcrBoxes, FilteredDataset])
def test_an_example_is_a_row_that_the_table_takes(schema: type[dy.Schema]) -> None:
    assert list(EXAMPLES[schema]) == schema.column_names()
    schema.validate(example_frame(schema))


def test_the_example_of_a_verdict_is_what_its_ratios_and_rule_give() -> None:
    row = EXAMPLES[FilteredDataset]
    ratios = {name: row[name][0] for name in VideoCoverage.__dataclass_fields__}
    judgement = judge_sample([VideoCoverage(**ratios)], rule_of(row["rule"]))
    assert (judgement.verdict, judgement.reason) == (row["verdict"], row["reason"])
    assert json.loads(row["sample_json"]) == {}


def test_an_example_is_shown_column_by_column() -> None:
    lines = example_markdown(FilteredDataset).splitlines()
    assert len(lines) == 2 + len(FilteredDataset.column_names())
    assert r"| `ocr_area_ratio` | \[0\.062101\] |" in lines
    assert r"| `path_bytes` | \[null\] |" in lines
    assert "| `error` | *null* |" in example_markdown(OcrBoxes).splitlines()
