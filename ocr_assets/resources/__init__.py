"""What Dagster configures: where videos come from, where tables go, how text is found."""
