"""Knowing video containers by their first bytes."""

from pathlib import Path

# ISO base media files that are pictures or sound: the same container as MP4, but not video.
STILL_OR_AUDIO_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif", b"M4A ", b"M4B ", b"crx "}
)


HEAD_BYTES = 377


def has_video_signature(path: Path) -> bool:
    """Whether a file's first bytes are those of a video container.

    Files that cannot be opened have no signature: they count by their name alone.
    """
    try:
        with path.open("rb") as file:
            return is_video_signature(file.read(HEAD_BYTES))
    except OSError:
        return False


def is_video_signature(head: bytes) -> bool:
    """Whether these are the first bytes of a video container.

    Args:
        head: HEAD_BYTES of them, if there are so many.
    """
    if head[4:8] == b"ftyp":
        return head[8:12] not in STILL_OR_AUDIO_BRANDS
    return (
        head.startswith(b"\x1a\x45\xdf\xa3")  # EBML: Matroska, WebM
        or (head.startswith(b"RIFF") and head[8:12] == b"AVI ")
        or head.startswith(b"\x00\x00\x01\xba")  # MPEG program stream
        # MPEG transport stream
        or (len(head) == HEAD_BYTES and head[0] == head[188] == head[376] == 0x47)
    )
