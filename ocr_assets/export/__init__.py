"""The result of the filter, taken elsewhere; no Dagster run, no video decoded."""
