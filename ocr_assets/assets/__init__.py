"""The four assets, one file each."""
