"""The limits of Dagster's concurrency pools, and whose they are."""
