"""Text detection with EasyOCR. Usable without Dagster."""
