"""Work in units, and who does it: the run's own process, or a Ray cluster."""
