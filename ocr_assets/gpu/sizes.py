"""Sizes of memory."""

MIB = 1024**2
GIB = 1024**3


def gib(size_bytes: float) -> str:
    """For people to read: `2.0 GiB`."""
    return f"{size_bytes / GIB:.1f} GiB"
