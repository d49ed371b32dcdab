"""Metadata that all assets report in the same way."""

import dagster as dg
import dataframely as dy

from ocr_assets.tables.partitioned import PartitionedTable


def column_schema(schema: type[dy.Schema]) -> dg.TableSchema:
    """A table's columns with their types and descriptions, for the asset's page."""
    empty = schema.create_empty()
    return dg.TableSchema(
        [
            dg.TableColumn(
                name,
                type=str(empty.schema[name]),
                description=column.description,
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
            )
            for name, column in schema.columns().items()
        ]
    )


def written(table: PartitionedTable, row_count: int) -> dict[str, dg.MetadataValue]:
    """Where a partition was written and how many rows it has."""
    return {
        "dagster/partition_row_count": dg.MetadataValue.int(row_count),
        "dagster/uri": dg.MetadataValue.path(table.uri),
    }
