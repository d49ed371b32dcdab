"""Dagster assets that find and remove text-heavy videos from training datasets."""
