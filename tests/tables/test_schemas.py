import dataframely as dy
import pytest

from ocr_assets.tables.schemas import FilteredDataset, OcrBoxes, SampledFrames, VideoManifest


@pytest.mark.parametrize("schema", [VideoManifest, SampledFrames, OcrBoxes, FilteredDataset])
def test_every_column_says_what_it_is_and_tables_share_their_partition(
    schema: type[dy.Schema],
) -> None:
    columns = schema.columns()
    assert next(iter(columns)) == "date"
    assert [name for name, column in columns.items() if not column.description] == []
    null = [name for name, column in columns.items() if column.nullable]
    assert [name for name in null if "null" not in str(columns[name].description)] == []
