"""GPU memory: what there is, who has leased it, and where a reader fits. No Dagster, no EasyOCR."""
