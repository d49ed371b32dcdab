"""Finding, probing and sampling videos. Usable without Dagster."""
